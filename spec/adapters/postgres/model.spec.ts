import assert from 'node:assert/strict'
import type { FileChange } from '../../../lib/adapters/cluster/fileSteps.ts'
import type { ClusterSessionLink, FoundUpload, Steps } from '../../../lib/adapters/cluster/steps.ts'
import { MemorySharedStore } from '../../../lib/adapters/memory/sharedStore.ts'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import { OspError } from '../../../lib/errors.ts'
import type { Claim, NewTransfer, StoredFile } from '../../../lib/ports/storage.ts'
import type { FileRecord } from '../../../lib/storage/catalogue/fileRecords.ts'
import { Draw } from '../../../lib/testing/chance.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { spec } from '../../support/spec.ts'
import { infoOf, longMs } from '../cluster/contract/fixture.ts'
import { emptyStore } from './stores.ts'

/** One of the two stores that are compared, with the values that differ between them. */
class Side {
  readonly steps: Steps
  readonly servers: number[] = []
  readonly claims: Claim[] = []

  constructor(steps: Steps) {
    this.steps = steps
  }

  async enter(): Promise<void> {
    this.servers.push(await this.steps.enter(infoOf('a'), longMs))
  }

  server(at: number): number {
    return this.servers[at] ?? assert.fail('there is no such server')
  }

  /** Returns a claim that was granted; one without a record at first. */
  claim(at: number): Claim {
    return this.claims[at] ?? { user: 'alice', name: 'a', token: 0 }
  }

  /** Returns the result of a step with the positions of tokens and servers in place of their numbers. */
  async resultOf(step: Step): Promise<unknown> {
    const result = await step.run(this).catch((error) => {
      if (!(error instanceof OspError)) throw error
      return error.code
    })
    return JSON.parse(JSON.stringify(result ?? null), (key, value) => {
      if (key === 'token') return this.claims.findIndex(({ token }) => token === value)
      return key === 'server' ? this.servers.indexOf(value) : value
    })
  }
}

/** A step with its random values. */
interface Step {
  readonly name: string
  run(side: Side): Promise<unknown>
}

const users = ['alice', 'bob']
const names = ['a', 'b', 'ä/c']
const sessions = ['1', '1', '1', '2'].map((digit) => digit.repeat(32))

const uploadOf = (draw: Draw): NewTransfer => ({
  ...{ user: draw.pick(users), name: draw.pick(names), size: 10, modifiedAt: draw.pick([7, 8]), algorithm: 'md5' },
})

const fileOf = ({ user, name, size, algorithm }: NewTransfer): StoredFile => ({
  ...{ user, name, storedName: name, replaced: false, size, algorithm, digest: 'abcd' },
})

const sources = ['one', 'two']
const fences = ['f', 'g', 'h']
const versions = ['v', 'w', 'x']

const recordOf = (draw: Draw): FileRecord => {
  const { modifiedAt, ...upload } = uploadOf(draw)
  const metadata = draw.pick([{}, { contentType: 'text/plain' }])
  return { ...upload, ...(draw.once(2) && { modifiedAt }), version: draw.pick(versions), digest: 'abcd', metadata }
}

const byFence = (changes: readonly FileChange[]) => changes.toSorted((a, b) => (a.fence < b.fence ? -1 : 1))

const untilOf = (draw: Draw) => draw.pick([1, Number.MAX_SAFE_INTEGER])

function linkOf(draw: Draw): (side: Side) => ClusterSessionLink {
  const [at, link, user, session] = [
    draw.pick([0, 0, 0, 1, 2]),
    draw.pick([1, 1, 1, 2]),
    draw.pick(users),
    draw.pick(sessions),
  ]
  return (side) => ({ server: side.server(at), link, user, session })
}

/** A claim that is granted, refused or completed, regardless of the state that it finds. */
function claimStep(draw: Draw): Step {
  const [upload, linked, reserved, kind] = [uploadOf(draw), linkOf(draw), draw.from(0, 9), draw.from(0, 9)]
  const isRecovery = draw.once(10)
  const checkpoints = draw.some(0, 2, () => ({ offset: draw.from(1, 9), digest: Uint8Array.of(draw.from(0, 255)) }))
  const superseded = draw.some(0, 2, () => draw.pick(sessions))
  const run = async (side: Side) => {
    const by = { ...linked(side), user: upload.user }
    if (kind > 4) await side.steps.openSession(by, 3).catch(() => {})
    let seen: FoundUpload | undefined
    const result = await side.steps.transfers.claim(
      by,
      upload,
      async (found) => {
        seen = { ...found, otherNames: found.otherNames.toSorted() }
        if (kind === 0) throw new OspError('file-busy')
        if (kind === 1) return { completed: fileOf(upload) }
        const owner = { node: by.link, instance: reserved, session: by.session }
        return {
          record: { ...upload, owner, superseded, checkpoints, updatedAt: reserved },
          reserved: { growth: reserved, entries: reserved % 3 },
        }
      },
      isRecovery,
    )
    if ('claim' in result) side.claims.push(result.claim)
    return { result, seen }
  }
  return { name: 'claim', run }
}

const steps: Readonly<Record<string, (draw: Draw, latest: number) => (side: Side) => Promise<unknown>>> = {
  openSession: (draw) => {
    const [link, attempt] = [linkOf(draw), draw.from(1, 3)]
    return (side) => side.steps.openSession(link(side), attempt)
  },
  closeSession: (draw) => {
    const link = linkOf(draw)
    return (side) => side.steps.closeSession(link(side))
  },
  checkpoint: (draw, latest) => {
    const batch = draw.some(0, 3, () => {
      const checkpoints = [{ offset: draw.from(1, 9), digest: new Uint8Array() }]
      return { claim: draw.from(0, latest), checkpoints, at: draw.from(0, 99) }
    })
    return ({ steps: { transfers }, ...side }) =>
      transfers.checkpoint(batch.map((each) => ({ ...each, claim: side.claims[each.claim] ?? missing })))
  },
  verified: (draw, latest) => {
    const [at, upload] = [draw.from(0, latest), uploadOf(draw)]
    return (side) => {
      const { user, name } = side.claim(at)
      return side.steps.transfers.verified(side.claim(at), fileOf({ ...upload, user, name }), 'v')
    }
  },
  complete: (draw, latest) => {
    const [at, until] = [draw.from(0, latest), untilOf(draw)]
    return (side) => side.steps.transfers.complete(side.claim(at), until)
  },
  settle: (draw) => {
    const files = draw.some(0, 2, () => ({ ...uploadOf(draw), source: draw.pick(sources), isStored: draw.once(2) }))
    return (side) => side.steps.transfers.settle(files)
  },
  announce: (draw) => {
    const [at, until, upload] = [draw.from(0, 2), untilOf(draw), uploadOf(draw)]
    const files = draw.some(1, 2, () => draw.pick(names)).filter((name, place, all) => all.indexOf(name) === place)
    const announced = files.map((name) => ({
      ...{ file: fileOf({ ...upload, name }), version: 'w', modifiedAt: 8 },
      ...(draw.once(2) && { source: draw.pick(sources), adds: { growth: draw.from(0, 9), entries: draw.from(0, 2) } }),
    }))
    const link = draw.once(2) ? linkOf(draw) : undefined
    const room = draw.once(2) ? { growth: draw.from(0, 300), entries: draw.from(0, 60), entryBytes: 2 } : undefined
    return (side) => {
      const by = link && { ...link(side), user: upload.user }
      return side.steps.transfers.announce(by?.server ?? side.server(at), announced, until, by, room)
    }
  },
  release: (draw, latest) => {
    const claims = draw.some(0, 2, () => draw.from(0, latest))
    return (side) => side.steps.transfers.release(claims.map((at) => side.claim(at)))
  },
  remove: (draw, latest) => {
    const [{ user, name }, link] = [uploadOf(draw), draw.once(2) ? linkOf(draw) : undefined]
    const at = draw.once(3) ? draw.from(0, latest) : undefined
    return (side) => {
      const token = at === undefined ? undefined : side.claim(at).token
      return side.steps.transfers.remove(user, name, link && { ...link(side), user }, token)
    }
  },
  expire: (draw) => {
    const [{ user, name }, before, link] = [uploadOf(draw), draw.from(0, 99), draw.once(2) ? linkOf(draw) : undefined]
    return (side) => side.steps.transfers.expire(user, name, before, link && { ...link(side), user })
  },
  forget: (draw) => {
    const [upload, digest] = [uploadOf(draw), draw.pick(['abcd', 'abcd', 'ef'])]
    return (side) => side.steps.transfers.forget(upload, digest)
  },
  put: (draw) => {
    const records = draw.some(1, 2, () => recordOf(draw))
    return (side) => side.steps.files.put(records)
  },
  begin: (draw) => {
    const [at, fence, { user, name, version }] = [draw.from(0, 2), draw.pick(fences), recordOf(draw)]
    const [newName, ended] = [draw.pick([undefined, ...names]), draw.some(0, 2, () => draw.pick(fences))]
    const link = draw.once(2) ? linkOf(draw) : undefined
    return async (side) => {
      const change = { fence, user, name, version, newName }
      const by = link && { ...link(side), user }
      const { changes, unpublished } = await side.steps.files.begin(by?.server ?? side.server(at), change, ended, by)
      return { changes: byFence(changes), unpublished: byKey(unpublished, ({ file }) => file) }
    }
  },
  end: (draw) => {
    const ended = draw.some(0, 2, () => draw.pick(fences))
    return (side) => side.steps.files.end(ended)
  },
  reported: (draw) => {
    const files = draw.some(1, 3, () => ({
      ...uploadOf(draw),
      ...(draw.once(2) && { version: draw.pick(['v', 'w']) }),
    }))
    return (side) => side.steps.transfers.reported(files)
  },
  leave: (draw) => {
    const at = draw.once(8) ? draw.from(0, 2) : undefined
    return async (side) => {
      if (at === undefined) return
      await side.steps.leave(side.server(at))
      const left = side.server(at)
      await side.enter()
      // The former server keeps a position, since records name it.
      side.servers[at] = side.servers.pop() ?? left
      side.servers.push(left)
    }
  },
}

const missing: Claim = { user: 'alice', name: 'a', token: 0 }

/** The state of a store as the steps show it. */
const state: Step = {
  name: 'state',
  async run({ steps: { transfers, files }, servers, claims }) {
    const subjects = users.flatMap((user) => names.map((name) => ({ user, name })))
    const keys = subjects.flatMap((subject) => versions.map((version) => ({ ...subject, version })))
    const [totals, markers, unreported, ended, records, abandoned, known, listed] = await Promise.all([
      Promise.all(users.map((user) => transfers.totals(user, ['b'], servers[0] ?? 0))),
      Promise.all(subjects.map(({ user, name }) => transfers.marker(user, name))),
      Promise.all(servers.slice(0, 3).map((server) => transfers.unreported(server))),
      transfers.ended(claims.map(({ token }) => token)),
      transfers.records(undefined, undefined, 99),
      transfers.abandoned(),
      files.get(keys),
      files.page(keys[1], 99),
    ])
    return {
      ...{ records, markers, totals, known, listed, begun: byFence(abandoned.changes) },
      ended: ended.toSorted((a, b) => a.token - b.token),
      unreported: unreported.map((files) => byKey(files, ({ file }) => file)),
      abandoned: byKey(abandoned.records, (record) => record),
    }
  },
}

const keyOf = ({ user, name }: { readonly user: string; readonly name: string }) => `${user}:${name}`

const byKey = <T extends object>(values: readonly T[], subject: (value: T) => { user: string; name: string }) =>
  values.toSorted((one, other) => (keyOf(subject(one)) < keyOf(subject(other)) ? -1 : 1))

const kinds = [
  ...Object.keys(steps),
  'openSession',
  'openSession',
  'checkpoint',
  'verified',
  'verified',
  'reported',
  'reported',
  'complete',
  'complete',
]

function nextStep(draw: Draw, claims: number): Step {
  if (draw.once(3)) return claimStep(draw)
  const name = draw.pick(kinds)
  const run = steps[name] ?? assert.fail(name)
  return { name, run: run(draw, Math.max(0, claims - 1)) }
}

spec('the steps of uploads and sessions in PostgreSQL', (it) => {
  if (databaseMissing !== undefined) return it.skip('have the results of the model', databaseMissing)

  it('have the results of the model in memory, in any order', async () => {
    await using store = await emptyStore()
    const memory = new MemorySharedStore(nodePlatform()).steps()
    await memory.open()
    const [model, real] = [new Side(memory), new Side(await store.connect())]
    for (const side of [model, real]) for (let at = 0; at < 3; at++) await side.enter()
    const draw = new Draw(7)
    for (let at = 0; at < 160; at++) {
      const step = nextStep(draw, model.claims.length)
      for (const each of at % 5 === 0 ? [step, state] : [step]) {
        const expected = await model.resultOf(each)
        assert.deepEqual(await real.resultOf(each), expected, `step ${at}: ${step.name}`)
      }
    }
    assert.ok(model.claims.length > 10, `${model.claims.length} claims were granted`)
  })
})
