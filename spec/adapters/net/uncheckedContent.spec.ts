import { sha256 } from '../../support/fileClient.ts'
import { patterned } from '../../support/memorySource.ts'
import { ServerRig } from '../../support/serverRig.ts'
import { spec } from '../../support/spec.ts'

const bytes = patterned(300_000)
const file = { name: 'a', bytes }

spec('a chunk over TCP', (it) => {
  for (const features of [0, 1]) {
    it(`is received with a checksum of its ${features ? 'offset' : 'content'} after HELLO with features ${features}`, async () => {
      await using rig = await ServerRig.onDisk()
      const client = await rig.client({ features })
      client.raw.socket.checksContent = features === 0
      const { instance } = await client.start(file)
      await client.chunk(instance, 0, bytes)
      await client.end(instance, sha256(bytes))
      await rig.assertStored('a', bytes)
    })

    it(`can be a whole file, also an empty one, after HELLO with features ${features}`, async () => {
      await using rig = await ServerRig.onDisk()
      const client = await rig.client({ features })
      client.raw.socket.checksContent = features === 0
      for (const length of [0, 1, 1_900, 2_048, 10_000, 300_000]) {
        await client.put({ name: `${length}`, bytes: bytes.subarray(0, length) })
        await rig.assertStored(`${length}`, bytes.slice(0, length))
      }
    })

    it(`ends the link if its checksum is of the other kind, after HELLO with features ${features}`, async () => {
      await using rig = await ServerRig.onDisk()
      const { raw } = await rig.client({ features })
      raw.socket.checksContent = features === 1
      raw.send('PostFileReq', { progress: 0, content: [bytes] }, 1)
      await raw.dismissed('malformed')
    })
  }
})
