import assert from 'node:assert/strict'
import type { Claimed, ClaimOptions, NewTransfer, Owner } from '../../../lib/ports/storage.ts'
import {
  claimed,
  fileOf,
  fill,
  hello,
  recordsOf,
  resume,
  start,
  textBytes,
  textOf,
  wanted,
} from '../../../lib/testing/storage/steps.ts'
import { upTo } from '../../../lib/testing/testCases.ts'
import { spec } from '../../support/spec.ts'
import { pass } from '../../support/turn.ts'
import { alteredSteps, CutSteps, quietSteps, unansweredSteps } from './alteredSteps.ts'
import { ClusterRig } from './clusterRig.ts'
import { SharedDirectory } from './sharedDirectory.ts'

type FileServer = Awaited<ReturnType<ClusterRig['fileServer']>>

const at = (offset: number) => ({ offset, digest: Uint8Array.of(offset) })
const superseded = { code: 'superseded' }

/** Opens a link of alice at a server. Resolves with the owner of an upload over it. */
async function linkAt(rig: ClusterRig, { links }: FileServer, session: number): Promise<Owner> {
  const link = { node: links.nextNode(), user: 'alice', session: session.toString(16).padStart(32, '0') }
  await rig.passing(links.openSession(link, link.node))
  return { node: link.node, instance: 1, session: link.session }
}

/** Runs `proof` with two servers. The links `one` at the first and `two` at the second have different sessions of alice. */
function withServers(
  proof: (
    rig: ClusterRig,
    servers: { directory: SharedDirectory; first: FileServer; second: FileServer; one: Owner; two: Owner },
  ) => Promise<void>,
  alter?: Parameters<ClusterRig['fileServer']>[1],
) {
  return async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    const [first, second] = [await rig.fileServer(directory, alter), await rig.fileServer(directory)]
    const [one, two] = [await linkAt(rig, first, 1), await linkAt(rig, second, 2)]
    await proof(rig, { directory, first, second, one, two })
  }
}

/** Claims an upload that must not be completed. */
const claimAt = (rig: ClusterRig, { storage }: FileServer, by: Owner, how = resume, want: Partial<NewTransfer> = {}) =>
  rig.passing(claimed(storage, want, how, by))

/** Resolves with the code of a claim that is refused, or `undefined`. */
const codeOf = (claim: Promise<Claimed>) =>
  claim.then(
    () => undefined,
    ({ code }) => code,
  )

/** Lets seconds pass. */
async function seconds(rig: ClusterRig, count: number): Promise<void> {
  for (let passed = 0; passed < 10 * count; passed++) await pass(rig.clock, 100)
}

for (const [how, alter] of [
  ['by a notification', undefined],
  ['by polling alone', quietSteps],
] as const) {
  spec(`an upload that a second server claims, known ${how}`, (it) => {
    it(
      'continues there at the last checkpoint, and the first server can no longer change it',
      withServers(async (rig, { first, second, one, two }) => {
        const { claim } = await claimAt(rig, first, one)
        await rig.passing(fill(first.storage, claim, textBytes('hel')))
        await rig.passing(first.transfers.checkpoint(claim, [at(3)], 2_000_000))
        const next = await claimAt(rig, second, two)
        assert.deepEqual([next.record.checkpoints, next.record.superseded], [[at(3)], [one.session]])
        assert.equal(await rig.passing(textOf(second.storage, next.claim)), 'hel')
        await assert.rejects(rig.passing(first.transfers.checkpoint(claim, [at(4)], 2_000_000)), superseded)
        await assert.rejects(rig.passing(first.transfers.verified(claim, fileOf())), superseded)
        await assert.rejects(rig.passing(first.transfers.complete(claim, 1_000)), superseded)
        await assert.rejects(rig.passing(first.storage.files.open(claim)), superseded)
        await assert.rejects(claimAt(rig, first, one), superseded)
        assert.deepEqual((await recordsOf(first.storage))[0], next.record)
      }, alter),
    )

    it(
      'is reported to the first server, like an upload that another server removes',
      withServers(async (rig, { first, second, one, two }) => {
        await claimAt(rig, first, one)
        await claimAt(rig, first, one, resume, { name: 'b' })
        await claimAt(rig, second, two)
        const by = { node: two.node, user: 'alice', session: two.session }
        assert.equal(await rig.passing(second.transfers.remove('alice', 'b', by)), true)
        await seconds(rig, 2)
        assert.deepEqual([...first.ended].sort(), ['alice a superseded', 'alice b cancelled'])
        assert.deepEqual(second.ended, [])
      }, alter),
    )
  })
}

spec('an upload that a second server claims', (it) => {
  it('is reported to the first server after a checkpoint there was refused', async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    let isUnknown = true
    const first = await rig.fileServer(directory, (steps) =>
      alteredSteps(quietSteps(steps), async (name, run) => (name === 'transfers.ended' && isUnknown ? [] : run())),
    )
    const second = await rig.fileServer(directory, quietSteps)
    const { claim } = await claimAt(rig, first, await linkAt(rig, first, 1))
    await claimAt(rig, second, await linkAt(rig, second, 2))
    await assert.rejects(rig.passing(first.transfers.checkpoint(claim, [at(3)], 2_000_000)), superseded)
    assert.deepEqual(first.ended, [])
    isUnknown = false
    await seconds(rig, 2)
    assert.deepEqual(first.ended, ['alice a superseded'])
  })
})

spec('an upload that a link at another server holds', (it) => {
  it(
    'is busy for another session that starts it or has another file, and is taken over by a session that continues it',
    withServers(async (rig, { first, second, one, two }) => {
      await claimAt(rig, first, one)
      const ask = (how: ClaimOptions, want = wanted) => rig.passing(codeOf(second.transfers.claim(want, two, how)))
      assert.equal(await ask(start), 'file-busy')
      assert.equal(await ask(resume, { ...wanted, size: 6 }), 'file-busy')
      assert.equal(await ask(resume), undefined)
    }),
  )

  it(
    'is free for the same session, and for all sessions after it is released',
    withServers(async (rig, { first, second, one, two }) => {
      const { claim } = await claimAt(rig, first, one)
      const moved = await linkAt(rig, second, 1)
      const { claim: next, record } = await claimAt(rig, second, moved, start)
      assert.deepEqual(record.superseded, [])
      await rig.passing(first.transfers.release(claim))
      assert.equal(
        await rig.passing(codeOf(second.transfers.claim(wanted, await linkAt(rig, second, 3), start))),
        undefined,
      )
      await rig.passing(second.transfers.release(next))
      const held = (await recordsOf(first.storage))[0]
      assert.ok(held)
      await rig.passing(second.transfers.release(held))
      const again = await claimAt(rig, first, await linkAt(rig, first, 4), start)
      assert.deepEqual(again.record.superseded, [])
      void two
    }),
  )

  it(
    'counts with its full size for the quota at other servers',
    withServers(async (rig, { first, second, one }) => {
      const { claim } = await claimAt(rig, first, one)
      const totals = async ({ transfers }: FileServer) => {
        const { uploads, bytes } = await rig.passing(transfers.unfinished('alice'))
        return { uploads, bytes }
      }
      assert.deepEqual(
        [await totals(first), await totals(second)],
        [
          { uploads: 1, bytes: 0 },
          { uploads: 1, bytes: wanted.size },
        ],
      )
      await rig.passing(first.transfers.release(claim))
      assert.deepEqual(await totals(second), { uploads: 1, bytes: 0 })
    }),
  )

  it(
    'cannot be claimed or removed by a link whose session has moved to another server',
    withServers(async (rig, { first, second, one }) => {
      await claimAt(rig, first, one)
      await linkAt(rig, second, 1)
      const lost = { code: 'link-lost' }
      const by = { node: one.node, user: 'alice', session: one.session }
      await assert.rejects(claimAt(rig, first, one), lost)
      await assert.rejects(rig.passing(first.transfers.remove('alice', 'a', by)), lost)
      await assert.rejects(rig.passing(first.transfers.expire('alice', 'a', 9e15, by)), lost)
      await assert.rejects(
        rig.passing(first.transfers.announce({ file: fileOf(), version: 'v', modifiedAt: 1 }, 1_000, by)),
        lost,
      )
      assert.equal((await recordsOf(second.storage)).length, 1)
    }),
  )

  it(
    'conflicts with a name at another server, if both are claimed at once',
    withServers(async (rig, { first, second, one, two }) => {
      const codes = await rig.passing(
        Promise.all([
          codeOf(first.transfers.claim({ ...wanted, name: 'x' }, one, start)),
          codeOf(second.transfers.claim({ ...wanted, name: 'x/y' }, two, start)),
        ]),
      )
      assert.deepEqual(
        codes.filter((code) => code !== undefined),
        ['name-conflict'],
      )
    }),
  )
})

spec('files of two servers', (it) => {
  it(
    'do not replace each other if both publish one name at once',
    withServers(async (_, { directory, first, second }) => {
      for (const number of upTo(20)) {
        const name = `${number}`
        const created = await Promise.all(
          [first, second].map(({ files }, at) => files.create('alice', [textBytes(`server ${at}`)])),
        )
        const published = await Promise.all(created.map((file) => file.publish(name, false)))
        assert.deepEqual([...published].sort(), [false, true])
        const content = await directory.read('alice', name)
        assert.equal(new TextDecoder().decode(content), `server ${published.indexOf(true)}`)
      }
    }),
  )
})

/** Runs an upload until it is verified. */
async function verifiedAt(rig: ClusterRig, server: FileServer, by: Owner) {
  const { claim } = await claimAt(rig, server, by, start)
  await rig.passing(fill(server.storage, claim))
  await rig.passing(server.transfers.verified(claim, fileOf()))
  return claim
}

/** Publishes and completes a verified upload. */
async function completeAt(rig: ClusterRig, server: FileServer, claim: Parameters<FileServer['files']['open']>[0]) {
  const file = await rig.passing(server.files.open(claim))
  assert.equal(await rig.passing(file.publish('a', true)), true)
  await rig.passing(server.transfers.complete(claim, 60_000))
  await file[Symbol.asyncDispose]()
}

spec('the uploads of a dead server', (it) => {
  for (const [what, recovers] of [
    ['are free at once for the same session', false],
    ['are completed by another server if they were verified', true],
  ] as const) {
    it(what, async () => {
      await using directory = await SharedDirectory.create()
      await using rig = new ClusterRig()
      const cut = new CutSteps()
      const first = await rig.fileServer(directory, cut.alter)
      const second = await rig.fileServer(directory)
      const one = await linkAt(rig, first, 1)
      await seconds(rig, 15)
      if (recovers) await verifiedAt(rig, first, one)
      else await claimAt(rig, first, one)
      cut.isCut = true
      if (!recovers) {
        await claimAt(rig, second, await linkAt(rig, second, 1), start)
        return
      }
      assert.deepEqual(await rig.passing(second.transfers.abandoned()), [])
      await seconds(rig, 13)
      const [record] = await rig.passing(second.transfers.abandoned())
      assert.ok(record)
      const { claim } = await claimAt(rig, second, record.owner, { ...resume, recovery: true }, record)
      await completeAt(rig, second, claim)
      assert.deepEqual(await rig.passing(second.transfers.completed(wanted)), fileOf())
      const [unreported] = await rig.passing(second.transfers.unreported())
      assert.deepEqual(unreported, { ...fileOf(), version: await rig.passing(second.files.version('alice', 'a')) })
      assert.deepEqual(await directory.read('alice', 'a'), Uint8Array.from(hello))
    })
  }

  it('are left alone by a recovery after they have begun anew, or were completed and another one has begun', async () => {
    for (const isCompleted of [false, true]) {
      await using directory = await SharedDirectory.create()
      await using rig = new ClusterRig()
      const [first, second] = [await rig.fileServer(directory), await rig.fileServer(directory)]
      const one = await linkAt(rig, first, 1)
      const verified = await verifiedAt(rig, first, one)
      const [record] = await rig.passing(recordsOf(first.storage))
      assert.ok(record?.verified)
      if (isCompleted) {
        await completeAt(rig, first, verified)
        await rig.passing(first.transfers.reported([fileOf()]))
      } else await rig.passing(first.transfers.remove('alice', 'a'))
      const next = isCompleted ? { modifiedAt: wanted.modifiedAt + 1 } : {}
      const { claim } = await claimAt(rig, first, one, start, next)
      const recovering = claimAt(rig, second, record.owner, { ...resume, recovery: true }, record)
      await assert.rejects(recovering, superseded)
      await rig.passing(first.transfers.checkpoint(claim, [at(3)], 2_000_000))
    }
  })

  it('are free for all sessions after it is declared dead', async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    const first = await rig.fileServer(directory, cut.alter)
    const second = await rig.fileServer(directory)
    await seconds(rig, 15)
    await claimAt(rig, first, await linkAt(rig, first, 1))
    cut.isCut = true
    const two = await linkAt(rig, second, 2)
    assert.equal(await rig.passing(codeOf(second.transfers.claim(wanted, two, start))), 'file-busy')
    await seconds(rig, 13)
    const { record } = await claimAt(rig, second, two, start)
    assert.deepEqual(record.superseded, [])
    assert.equal(await rig.passing(second.transfers.expire('alice', 'a', 9e15).then((old) => old?.name)), 'a')
  })
})

/** Writes a small file and announces it, like a server that is stopped before it publishes the file. */
async function announcedAt(rig: ClusterRig, { files, transfers }: FileServer, content: string) {
  const small = await rig.passing(files.create('alice', [textBytes(content)]))
  const { version, source = '' } = small
  await rig.passing(transfers.announceAll([{ file: fileOf(), version, modifiedAt: 1, source }], 60_000))
  const publish = () =>
    small.publish('a', true).then(
      () => 'published',
      ({ code }) => code,
    )
  return { source, publish }
}

spec('a small file that was announced and not published', (it) => {
  const textIn = async (directory: SharedDirectory) => new TextDecoder().decode(await directory.read('alice', 'a'))

  it('is never published after another server has announced a file of this name', async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    const [first, second] = [await rig.fileServer(directory), await rig.fileServer(directory)]
    const late = await announcedAt(rig, first, 'late')
    const { source, publish } = await announcedAt(rig, second, 'newer')
    assert.equal(await rig.passing(publish()), 'published')
    assert.equal(await rig.passing(late.publish()), 'file-busy')
    // Has no effect on the marker of the other file.
    await rig.passing(first.transfers.settled([{ user: 'alice', name: 'a', source: late.source, isStored: false }]))
    await rig.passing(second.transfers.settled([{ user: 'alice', name: 'a', source, isStored: true }]))
    assert.equal(await textIn(directory), 'newer')
    await rig.passing(second.transfers.reported([fileOf()]))
    assert.equal(await rig.passing((await announcedAt(rig, first, 'latest')).publish()), 'published')
    assert.equal(await textIn(directory), 'latest')
  })

  it('is never published after another server has claimed an upload of this name', async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    const [first, second] = [await rig.fileServer(directory), await rig.fileServer(directory)]
    const late = await announcedAt(rig, first, 'late')
    const claim = await verifiedAt(rig, second, await linkAt(rig, second, 2))
    await completeAt(rig, second, claim)
    assert.equal(await rig.passing(late.publish()), 'file-busy')
    assert.equal(await textIn(directory), 'hello')
  })

  it('is never published after another server has found that it is not stored', async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    const first = await rig.fileServer(directory)
    const late = await announcedAt(rig, first, 'late')
    assert.deepEqual(await rig.passing(first.transfers.unreported()), [])
    assert.equal(await rig.passing(late.publish()), 'file-busy')
    assert.equal(await rig.passing(first.transfers.completed(wanted)), undefined)
  })
})

spec('an upload', (it) => {
  it('that ends because a small file of its name is announced is never published later', async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    const [first, second] = [await rig.fileServer(directory), await rig.fileServer(directory)]
    const { claim } = await claimAt(rig, first, await linkAt(rig, first, 1), start)
    await rig.passing(fill(first.storage, claim))
    const late = await rig.passing(first.files.open(claim))
    assert.equal(await rig.passing((await announcedAt(rig, second, 'newer')).publish()), 'published')
    const outcome = late.publish('a', true).then(
      () => 'published',
      ({ code }) => code,
    )
    assert.match(await rig.passing(outcome), /^(superseded|digest-mismatch)$/u)
    await seconds(rig, 2)
    assert.deepEqual(first.ended, ['alice a superseded'])
  })

  it('is moved and not copied after its server has released it', async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    const [first, second] = [await rig.fileServer(directory), await rig.fileServer(directory)]
    const inodes: bigint[] = []
    const [one, two] = [await linkAt(rig, first, 1), await linkAt(rig, second, 2)]
    const { claim } = await claimAt(rig, first, one, start)
    await rig.passing(fill(first.storage, claim, textBytes('hello')))
    await rig.passing(first.transfers.checkpoint(claim, [at(3)], 2_000_000))
    inodes.push(...(await directory.partialInodes()))
    await rig.passing(first.transfers.release(claim))
    const { claim: next } = await claimAt(rig, second, two)
    assert.equal(await rig.passing(textOf(second.storage, next)), 'hello')
    inodes.push(...(await directory.partialInodes()))
    // The second server has not released it.
    const { claim: last } = await claimAt(rig, first, one)
    assert.equal(await rig.passing(textOf(first.storage, last)), 'hel')
    inodes.push(...(await directory.partialInodes()))
    assert.deepEqual(
      inodes.map((inode) => inode === inodes[0]),
      [true, true, false],
    )
  })
})

spec('a storage whose shared store does not answer', (it) => {
  it('is not opened, and reports that the store cannot be reached', async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    const cut = new CutSteps()
    cut.isCut = true
    await assert.rejects(rig.fileServer(directory, cut.alter), { code: 'unreachable' })
  })
})

spec('the steps of uploads', (it) => {
  const lost: string[] = []

  it(
    'take effect once if their outcome is unknown',
    withServers(
      async (rig, { first, second, one }) => {
        const claim = await verifiedAt(rig, first, one)
        await rig.passing(first.transfers.checkpoint(claim, [at(5)], 2_000_000))
        await completeAt(rig, first, claim)
        assert.deepEqual(await rig.passing(second.transfers.completed(wanted)), fileOf())
        assert.deepEqual(await rig.passing(second.transfers.claim(wanted, await linkAt(rig, second, 3), start)), {
          completed: fileOf(),
        })
        await rig.passing(first.transfers.reported([fileOf()]))
        await rig.passing(first.transfers.forget(wanted, fileOf().digest))
        const { claim: other } = await claimAt(rig, first, one, start, { name: 'b' })
        await rig.passing(first.transfers.release(other))
        const by = { node: one.node, user: 'alice', session: one.session }
        await rig.passing(first.transfers.remove('alice', 'b', by))
        const { claim: last } = await claimAt(rig, first, one, start, { name: 'b' })
        assert.equal(await rig.passing(first.transfers.remove('alice', 'b', undefined, last.token)), true)
        assert.deepEqual(await rig.passing(recordsOf(second.storage)), [])
        const file = await rig.passing(first.files.create('alice', [hello]))
        await rig.passing(
          first.transfers.announce(
            { file: fileOf({ name: 'c' }), version: file.version, modifiedAt: wanted.modifiedAt },
            60_000,
            by,
          ),
        )
        await rig.passing(file.publish('c', false))
        assert.deepEqual(await rig.passing(second.transfers.completed({ ...wanted, name: 'c' })), fileOf({ name: 'c' }))
        for (const name of ['claim', 'checkpoint', 'verified', 'complete', 'release', 'remove', 'announce', 'forget']) {
          assert.ok(lost.includes(`transfers.${name}`), `${name} was not lost`)
        }
      },
      (steps) => unansweredSteps(steps, lost),
    ),
  )

  it('store the checkpoints of many uploads together', async () => {
    await using directory = await SharedDirectory.create()
    await using rig = new ClusterRig()
    let steps = 0
    const server = await rig.fileServer(directory, (own) =>
      alteredSteps(own, async (name, run) => {
        if (name === 'transfers.checkpoint') steps++
        return run()
      }),
    )
    const one = await linkAt(rig, server, 1)
    const claims = await rig.passing(
      Promise.all(upTo(50).map((number) => claimed(server.storage, { name: `${number}` }, start, one))),
    )
    const store = () => claims.map(({ claim }) => server.transfers.checkpoint(claim, [at(3)], 2_000_000))
    await rig.passing(Promise.all([...store(), ...store()]))
    assert.ok(steps <= 3, `there are ${steps} steps`)
    const records = await rig.passing(recordsOf(server.storage))
    assert.deepEqual(
      records.map(({ checkpoints }) => checkpoints),
      upTo(50).map(() => [at(3)]),
    )
  })
})
