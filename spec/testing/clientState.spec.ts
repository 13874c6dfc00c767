import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stateDirectory } from '../../lib/adapters/stateDirectory/stateDirectory.ts'
import { memoryState } from '../../lib/client/runningClient.ts'
import { outboxContract, receiptsContract, tasksContract } from '../../lib/testing.ts'
import { runTestCases } from '../support/runTestCases.ts'

runTestCases(
  receiptsContract('memory', async () => {
    const state = memoryState()
    return { state: () => state, async [Symbol.asyncDispose]() {} }
  }),
)

for (const contract of [receiptsContract, tasksContract, outboxContract]) {
  runTestCases(
    contract('directory', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'ospd-state-'))
      return {
        state: () => stateDirectory(join(directory, 'alice', 'at', 'home')),
        [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
      }
    }),
  )
}
