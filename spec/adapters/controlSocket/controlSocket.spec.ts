import assert from 'node:assert/strict'
import { linkSync, lstatSync, readdirSync, readFileSync } from 'node:fs'
import { chmod, chown, mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { basename, join } from 'node:path'
import { askControl, serveControl } from '../../../lib/adapters/controlSocket/controlSocket.ts'
import { listenElsewhere } from '../../../lib/adapters/controlSocket/place.ts'
import { type ErrorCode, OspError } from '../../../lib/errors.ts'
import type { Answering } from '../../../lib/ports/control.ts'
import { place } from '../../support/commands.ts'
import { deadSocket } from '../../support/controlClient.ts'
import { spec } from '../../support/spec.ts'

const echo: Answering = (request, reply) => reply(request)

const coded = (code: ErrorCode) => (error: unknown) => error instanceof OspError && error.code === code

const modeOf = (path: string) => lstatSync(path).mode & 0o777

/** A directory whose path is too long for a socket, and a directory for temporary files. */
async function deep() {
  const at = await place()
  const directory = join(at.path, ...Array.from({ length: 10 }, () => 'a-rather-long-name'))
  const temporary = join(at.path, 't')
  await mkdir(directory, { recursive: true })
  await mkdir(temporary)
  const former = process.env.TMPDIR
  process.env.TMPDIR = temporary
  return {
    directory,
    temporary,
    async [Symbol.asyncDispose]() {
      if (former === undefined) delete process.env.TMPDIR
      else process.env.TMPDIR = former
      await at[Symbol.asyncDispose]()
    },
  }
}

spec('a control socket', (it) => {
  it('delivers a request, and its answers in order', async () => {
    await using at = await place()
    const asked: unknown[] = []
    await using _control = await serveControl(at.path, async (request, reply) => {
      asked.push(request)
      for (const n of [1, 2, 3]) reply({ n, text: 'é\n文' })
    })
    const answers: unknown[] = []
    const last = await askControl(at.path, { ask: 'é\n文' }, (answer) => answers.push(answer))
    assert.deepEqual(asked, [{ ask: 'é\n文' }])
    assert.deepEqual(
      answers,
      [1, 2, 3].map((n) => ({ n, text: 'é\n文' })),
    )
    assert.deepEqual(last, { n: 3, text: 'é\n文' })
  })

  it('has no answer if its handler sends none', async () => {
    await using at = await place()
    await using _control = await serveControl(at.path, () => {})
    assert.equal(await askControl(at.path, {}), undefined)
  })

  it('carries an answer of megabytes', async () => {
    await using at = await place()
    const large = 'x'.repeat(6_000_000)
    await using _control = await serveControl(at.path, (_request, reply) => reply(large))
    assert.equal(await askControl(at.path, {}), large)
  })

  it('reports an error of its handler with its code, and one without a code as internal', async () => {
    await using at = await place()
    await using _control = await serveControl(at.path, async (request) => {
      throw (request as { coded: boolean }).coded ? new OspError('file-busy', 'not now') : new Error('a bug')
    })
    await assert.rejects(askControl(at.path, { coded: true }), { code: 'file-busy', message: 'not now' })
    await assert.rejects(askControl(at.path, { coded: false }), { code: 'internal', message: 'a bug' })
  })

  it('is accessible to its owner only, at every moment', async () => {
    await using at = await place()
    await chmod(at.path, 0o755)
    const former = process.umask(0)
    let isOpen = false
    let looks = 0
    const wrong: string[] = []
    const watched = (async () => {
      while (!isOpen) {
        await new Promise((resolve) => setImmediate(resolve))
        looks++
        for (const name of readdirSync(at.path)) {
          const mode = modeIfThere(join(at.path, name))
          if (mode !== undefined && mode !== (name === 'control.sock' ? 0o600 : 0o700)) wrong.push(`${name} ${mode}`)
        }
      }
    })()
    try {
      await using _control = await serveControl(at.path, echo)
      isOpen = true
      await watched
      assert.ok(looks > 0)
      assert.deepEqual(wrong, [])
      assert.equal(modeOf(join(at.path, 'control.sock')), 0o600)
      assert.deepEqual(readdirSync(at.path), ['control.sock'])
    } finally {
      isOpen = true
      process.umask(former)
    }
  })

  it('leaves no file when it is closed, and can be closed twice', async () => {
    await using at = await place()
    const control = await serveControl(at.path, echo)
    await Promise.all([control.close(), control.close()])
    assert.deepEqual(readdirSync(at.path), [])
    await using _again = await serveControl(at.path, echo)
    assert.deepEqual(await askControl(at.path, { a: 1 }), { a: 1 })
  })

  it('replaces one whose process was killed', async () => {
    await using at = await place()
    await deadSocket(at.path)
    await using _control = await serveControl(at.path, echo)
    assert.deepEqual(await askControl(at.path, { a: 1 }), { a: 1 })
    assert.deepEqual(readdirSync(at.path), ['control.sock'])
  })

  it('does not replace one in use, which continues', async () => {
    await using at = await place()
    await using _control = await serveControl(at.path, echo)
    await assert.rejects(serveControl(at.path, echo), coded('data-locked'))
    assert.deepEqual(await askControl(at.path, { a: 1 }), { a: 1 })
    assert.deepEqual(readdirSync(at.path), ['control.sock'])
  })

  it('belongs to one program if several find a dead one at once', async () => {
    await using at = await place()
    await deadSocket(at.path)
    const all = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) => serveControl(at.path, (_r, reply) => reply(n))),
    )
    const served = all.flatMap((each, n) => (each.status === 'fulfilled' ? [{ n, control: each.value }] : []))
    assert.equal(served.length, 1)
    for (const each of all)
      if (each.status === 'rejected') assert.ok(coded('data-locked')(each.reason), String(each.reason))
    assert.equal(await askControl(at.path, {}), served[0]?.n)
    await served[0]?.control.close()
  })

  it('replaces a dead one if another program was killed while it removed that one', async () => {
    await using at = await place()
    await deadSocket(at.path)
    const path = join(at.path, 'control.sock')
    // The killed program leaves a second link. A running program has created it within the last seconds.
    linkSync(path, join(at.path, `control.${lstatSync(path).ino}`))
    const now = Date.now
    Date.now = () => now() + 60_000
    try {
      await using _control = await serveControl(at.path, echo)
      assert.deepEqual(readdirSync(at.path), ['control.sock'])
    } finally {
      Date.now = now
    }
  })

  it('does not remove a file that is not a socket', async () => {
    await using at = await place()
    await writeFile(join(at.path, 'control.sock'), 'precious')
    await assert.rejects(serveControl(at.path, echo), /is not a socket.*move it away/u)
    assert.equal(readFileSync(join(at.path, 'control.sock'), 'utf8'), 'precious')
    assert.deepEqual(readdirSync(at.path), ['control.sock'])
  })

  it('requires a directory', async () => {
    await using at = await place()
    await assert.rejects(serveControl(join(at.path, 'none'), echo), coded('internal'))
  })
})

spec('a control socket of a directory with a long path', (it) => {
  if (process.platform === 'win32') return it.skip('has a place', 'Windows has named pipes instead')

  it('is found by any path to the directory, and leaves no file', async () => {
    await using at = await deep()
    const { directory, temporary } = at
    const control = await serveControl(join(directory, '..', basename(directory)), echo)
    assert.equal(modeOf(join(directory, 'control.sock')), 0o600)
    assert.deepEqual(await askControl(directory, { a: 1 }), { a: 1 })
    await assert.rejects(serveControl(directory, echo), coded('data-locked'))
    await control.close()
    assert.deepEqual([...readdirSync(temporary), ...readdirSync(directory)], [])
    await assert.rejects(askControl(directory, {}), coded('unreachable'))
  })

  const inside = 'is in the directory itself, not in the directory for temporary files'
  if (process.platform !== 'linux') it.skip(inside, 'only Linux has short paths through a descriptor')
  else {
    it(inside, async () => {
      await using at = await deep()
      await using _control = await serveControl(at.directory, echo)
      assert.ok(lstatSync(join(at.directory, 'control.sock')).isSocket())
      assert.deepEqual([readdirSync(at.directory), readdirSync(at.temporary)], [['control.sock'], []])
    })

    it('removes no other file when it is closed and its descriptor is used again', async () => {
      await using at = await deep()
      const control = await serveControl(at.directory, echo)
      await writeFile(join(at.temporary, 's'), '')
      await control.close()
      assert.deepEqual(readdirSync(at.temporary), ['s'])
    })
  }
})

/** Serves as on a system without short paths: the socket is elsewhere. */
async function servedElsewhere() {
  const at = await deep()
  const server = createServer()
  const stop = await listenElsewhere(server, join(at.directory, 'control.sock'))
  const [name = ''] = readdirSync(at.temporary)
  return { ...at, folder: join(at.temporary, name), server, stop }
}

spec('a control socket that a file in the directory names', (it) => {
  if (process.platform === 'win32') return it.skip('has a place', 'Windows has named pipes instead')

  it('is in a private directory with a random name, is found, and is removed completely', async () => {
    await using at = await servedElsewhere()
    assert.equal(modeOf(at.folder), 0o700)
    assert.equal(modeOf(join(at.folder, 'control.sock')), 0o600)
    assert.match(basename(at.folder), /^ospd-\w{6}$/u)
    at.server.on('connection', (socket) =>
      socket.on('error', () => {}).end('{"taken":true}\n{"answer":"here"}\n{"done":true}\n'),
    )
    assert.equal(await askControl(at.directory, {}), 'here')
    await assert.rejects(serveControl(at.directory, echo), coded('data-locked'))
    await at.stop()
    assert.deepEqual(readdirSync(at.temporary), [])
  })

  it('is replaced, with its directory, if its process was killed', async () => {
    await using at = await servedElsewhere()
    const text = readFileSync(join(at.directory, 'control.sock'))
    await at.stop()
    await mkdir(at.folder, { mode: 0o700 })
    await deadSocket(at.folder)
    await writeFile(join(at.directory, 'control.sock'), text, { mode: 0o600 })
    await assert.rejects(askControl(at.directory, {}), coded('unreachable'))
    await using _again = await serveControl(at.directory, echo)
    assert.deepEqual(await askControl(at.directory, { a: 1 }), { a: 1 })
    assert.deepEqual(readdirSync(at.temporary), [])
  })

  it('is not used if others can enter its directory, or if it belongs to another user', async () => {
    await using at = await servedElsewhere()
    await chmod(at.folder, 0o755)
    await assert.rejects(askControl(at.directory, {}), /is not a directory that only this user can enter/u)
    await assert.rejects(serveControl(at.directory, echo), /is not a directory that only this user can enter/u)
    await chmod(at.folder, 0o700)
    await chmod(at.temporary, 0o777)
    await assert.rejects(askControl(at.directory, {}), coded('data-format'))
    await chmod(at.temporary, 0o755)
    if (process.geteuid?.() === 0) {
      await chown(at.folder, 12_345, 12_345)
      await assert.rejects(askControl(at.directory, {}), coded('data-format'))
      await chown(at.folder, 0, 0)
    }
    await at.stop()
  })
})

spec('a directory of a control socket', (it) => {
  if (process.platform === 'win32') return it.skip('is checked', 'Windows has access control lists instead')

  it('that others can write to is refused by the server and by the client', async () => {
    await using at = await place()
    await using _control = await serveControl(at.path, echo)
    await chmod(at.path, 0o777)
    await assert.rejects(askControl(at.path, {}), coded('data-format'))
    await assert.rejects(serveControl(at.path, echo), coded('data-format'))
    await chmod(at.path, 0o755)
    assert.deepEqual(await askControl(at.path, { a: 1 }), { a: 1 })
  })
})

function modeIfThere(path: string): number | undefined {
  try {
    return modeOf(path)
  } catch {
    return undefined
  }
}
