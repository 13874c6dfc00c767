import assert from 'node:assert/strict'
import { type Deferred, deferred } from '../../lib/runtime/deferred.ts'
import { GroupCommit } from '../../lib/runtime/groupCommit.ts'
import { spec } from '../support/spec.ts'

const turn = () => new Promise<void>((go) => setImmediate(go))

/** Returns group commits that the spec ends. */
function heldCommits(undo?: (item: number) => void) {
  const groups: { readonly items: readonly number[]; readonly end: Deferred<void> }[] = []
  const commits = new GroupCommit<number>({
    commit: async (group) => {
      const end = deferred<void>()
      groups.push({ items: group.map(({ item }) => item), end })
      for (const each of group) if (each.item < 0) each.reject(new Error('refused'))
      await end.promise
    },
    ...(undo && { undo }),
  })
  return { groups, commits }
}

spec('group commit', (it) => {
  it('commits the items that are added during a commit together in the next one', async () => {
    const { groups, commits } = heldCommits()
    const first = commits.add(1)
    await turn()
    const later = [commits.add(2), commits.add(3)]
    groups[0]?.end.resolve()
    await first
    await turn()
    assert.deepEqual(
      groups.map(({ items }) => items),
      [[1], [2, 3]],
    )
    groups[1]?.end.resolve()
    await Promise.all(later)
    await commits.idle()
  })

  it('gathers items until `gathered` resolves', async () => {
    const groups: (readonly number[])[] = []
    const commit = async (group: readonly { readonly item: number }[]) => {
      groups.push(group.map(({ item }) => item))
    }
    const commits = new GroupCommit<number>({ gathered: turn, commit })
    const first = commits.add(1)
    await Promise.resolve()
    await Promise.all([first, commits.add(2)])
    assert.deepEqual(groups, [[1, 2]])
    await commits.idle()
  })

  it('fails one group only, unless items are undone', async () => {
    const { groups, commits } = heldCommits()
    const first = commits.add(1)
    await turn()
    const second = commits.add(2)
    groups[0]?.end.reject(new Error('full'))
    await assert.rejects(first, /full/u)
    await turn()
    groups[1]?.end.resolve()
    await second
  })

  it('undoes the failed items and those that wait, the last one first', async () => {
    const undone: number[] = []
    const { groups, commits } = heldCommits((item) => undone.push(item))
    const added = Promise.allSettled([commits.add(1), commits.add(-2), commits.add(3)])
    await turn()
    const later = Promise.allSettled([commits.add(4)])
    groups[0]?.end.reject(new Error('full'))
    const results = [...(await added), ...(await later)]
    assert.deepEqual(undone, [4, 3, 1])
    assert.deepEqual(
      results.map((result) => result.status === 'rejected' && result.reason.message),
      ['full', 'refused', 'full', 'full'],
    )
  })

  it('commits an empty group after wake', async () => {
    const { groups, commits } = heldCommits()
    commits.wake()
    await turn()
    assert.deepEqual(
      groups.map(({ items }) => items),
      [[]],
    )
    groups[0]?.end.resolve()
    await commits.idle()
  })
})
