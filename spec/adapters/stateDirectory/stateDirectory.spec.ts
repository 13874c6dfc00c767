import assert from 'node:assert/strict'
import { closeSync, existsSync, readlinkSync } from 'node:fs'
import { appendFile, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { stateDirectory } from '../../../lib/adapters/stateDirectory/stateDirectory.ts'
import { receiptOf, taskOf } from '../../../lib/testing/clientState.ts'
import { spec } from '../../support/spec.ts'

/** The path of a state directory that does not exist yet. */
async function place() {
  const above = await mkdtemp(join(tmpdir(), 'ospd-state-'))
  const directory = join(above, 'state')
  const file = join(directory, 'receipts')
  const put = (seq: number) => stateDirectory(directory).receipts.put(receiptOf(seq), 100)
  const seqs = async () => (await stateDirectory(directory).receipts.load()).map(({ seq }) => seq)
  return { directory, file, put, seqs, [Symbol.asyncDispose]: () => rm(above, { recursive: true }) }
}

const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8)

spec('a state directory', (it) => {
  it('is created at the first write, with access for its owner only', async () => {
    await using here = await place()
    const { directory, file, put, seqs } = here
    assert.deepEqual(await seqs(), [])
    await assert.rejects(stat(directory), { code: 'ENOENT' })
    await put(1)
    assert.deepEqual([await modeOf(directory), await modeOf(file)], ['700', '600'])
    assert.deepEqual(await readdir(directory), ['receipts'])
  })

  it('has one line for each receipt, after a CRC', async () => {
    await using here = await place()
    const { file, put } = here
    await put(1)
    assert.match(await readFile(file, 'utf8'), /^[0-9a-f]{8} \{"seq":1,"sender":"bob 1 \\"ä\\"","id":"0{31}1"\}\n$/u)
  })

  it('ignores an incomplete line, and continues after the last complete one', async () => {
    await using here = await place()
    const { file, put, seqs } = here
    await put(1)
    await put(2)
    const text = await readFile(file, 'utf8')
    for (let length = text.indexOf('\n') + 2; length < text.length; length++) {
      await writeFile(file, text.slice(0, length))
      // A line that lacks only its newline is complete.
      const whole = length === text.length - 1 ? [1, 2] : [1]
      assert.deepEqual(await seqs(), whole)
      await put(3)
      assert.deepEqual(await seqs(), [...whole, 3])
    }
  })

  it('writes to the file at its path, even if that file was replaced or removed since the last write', async () => {
    await using here = await place()
    const { directory, file, seqs } = here
    const { receipts } = stateDirectory(directory)
    const put = (seq: number) => receipts.put(receiptOf(seq), 100)
    await put(1)
    await put(2)
    const text = await readFile(file, 'utf8')
    await writeFile(`${file}.copy`, text)
    await rename(`${file}.copy`, file)
    await put(3)
    assert.deepEqual(await seqs(), [1, 2, 3])
    await rm(file)
    await put(4)
    assert.deepEqual(await seqs(), [4])
  })

  it('continues with another file if the system cannot close the replaced one', async () => {
    if (process.platform !== 'linux') return
    await using here = await place()
    const { directory, file, seqs } = here
    const { receipts } = stateDirectory(directory)
    for (const seq of [1, 2]) await receipts.put(receiptOf(seq), 100)
    const fds = (await readdir('/proc/self/fd')).map(Number)
    const open = fds.find((fd) => existsSync(`/proc/self/fd/${fd}`) && readlinkSync(`/proc/self/fd/${fd}`) === file)
    await rm(file)
    // Closing it a second time fails.
    closeSync(open ?? -1)
    await receipts.put(receiptOf(3), 100)
    assert.deepEqual(await seqs(), [3])
  })

  it('ignores a damaged line, and keeps its neighbours', async () => {
    await using here = await place()
    const { file, put, seqs } = here
    for (const seq of [1, 2, 3]) await put(seq)
    const text = await readFile(file, 'utf8')
    await writeFile(file, text.replace('"seq":2', '"seq":7'))
    assert.deepEqual(await seqs(), [1, 3])
    await put(4)
    assert.deepEqual(await seqs(), [1, 3, 4])
    assert.equal((await readFile(file, 'utf8')).split('\n').length, 4)
  })

  it('ignores lines that are not receipts', async () => {
    await using here = await place()
    const { directory, file, put, seqs } = here
    await mkdir(directory)
    await writeFile(file, '\n\n00000000 \nhello\n')
    assert.deepEqual(await seqs(), [])
    await put(1)
    await appendFile(file, Uint8Array.of(0xff, 0xfe, 0, 10))
    assert.deepEqual(await seqs(), [1])
  })

  it('ignores the unfinished replacement of its file', async () => {
    await using here = await place()
    const { directory, file, put, seqs } = here
    await put(1)
    await writeFile(`${file}.new`, 'half')
    assert.deepEqual(await seqs(), [1])
    await writeFile(file, 'torn', { flag: 'a' })
    await put(2)
    assert.deepEqual([await seqs(), await readdir(directory)], [[1, 2], ['receipts']])
  })

  it('grows only to a multiple of the lines that it needs', async () => {
    await using here = await place()
    const { directory, file } = here
    const { receipts } = stateDirectory(directory)
    let most = 0
    for (let seq = 1; seq <= 500; seq++) {
      await receipts.put(receiptOf(seq), 50)
      most = Math.max(most, (await readFile(file, 'utf8')).split('\n').length - 1)
    }
    assert.equal(most, 400)
  })

  it('reports which file could not be written, and keeps its content', async () => {
    await using here = await place()
    const { directory, file, put, seqs } = here
    await put(1)
    const { receipts } = stateDirectory(directory)
    await receipts.load()
    await rm(file)
    await mkdir(file)
    await assert.rejects(async () => receipts.put(receiptOf(2), 5), {
      code: 'storage-unusable',
      message: /writing .*receipts failed: .*\(EISDIR\)$/u,
    })
    await rm(file, { recursive: true })
    await receipts.put(receiptOf(3), 5)
    assert.deepEqual(await seqs(), [1, 3])
  })

  it('stores the completions of known tasks together in one line', async () => {
    await using here = await place()
    const { directory } = here
    const { tasks } = stateDirectory(directory)
    const open = [1, 2, 3].map((id) => ({ ...taskOf(id), state: 'open', size: 0, durable: 0 }) as const)
    const done = open.map((task) => ({ ...task, state: 'done', size: task.id, durable: task.id, endedAt: 7 }) as const)
    // A task that completes before it is stored has a line of its own.
    await Promise.all([...open.slice(0, 2), ...done.slice(2)].map((task) => tasks.put(task)))
    await Promise.all([...done.slice(0, 2).map((task) => tasks.put(task)), tasks.remove(1)])
    assert.deepEqual(await stateDirectory(directory).tasks.load(), done.slice(1))
    const lines = (await readFile(join(directory, 'tasks'), 'utf8')).split('\n').slice(3)
    assert.deepEqual(
      lines.map((line) => line.slice(9)),
      ['{"done":[[1,1,7],[2,2,7]]}', '{"removed":[1]}', ''],
    )
  })

  it('ignores a task whose error code is unknown, also if it is a property of every object', async () => {
    await using here = await place()
    const { directory } = here
    const reason = { code: 'constructor', text: '' }
    const json = JSON.stringify({ ...taskOf(1), state: 'failed', reason })
    await mkdir(directory)
    await writeFile(join(directory, 'tasks'), `${crc32(json).toString(16).padStart(8, '0')} ${json}\n`)
    assert.deepEqual(await stateDirectory(directory).tasks.load(), [])
  })
})
