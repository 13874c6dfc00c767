import assert from 'node:assert/strict'
import { spec } from '../support/spec.ts'
import { fileFaults, type HandledMessage, messageFaults, type SentMessage } from './history.ts'

const sent = (n: number, outcome: SentMessage['outcome'] = 'acknowledged'): SentMessage => ({
  sender: 'alice',
  n,
  to: ['bob'],
  outcome,
})
const handled = (n: number, more: Partial<HandledMessage> = {}): HandledMessage => ({
  recipient: 'bob',
  sender: 'alice',
  n,
  attempt: 1,
  state: 'one',
  ...more,
})

spec('the history of messages', (it) => {
  it('is valid if every acknowledged message was handled once for each state directory, in order', () => {
    const again = handled(2, { state: 'two', attempt: 2 })
    assert.deepEqual(messageFaults([sent(1), sent(2), sent(3)], [handled(1), handled(2), again, handled(3)]), [])
    assert.deepEqual(messageFaults([sent(1, 'unknown'), sent(2, 'unknown')], [handled(2)]), [])
  })

  it('can repeat the message that a killed program was handling, with a higher attempt', () => {
    const all = [sent(1), sent(2), sent(3)]
    const before = [handled(1, { kills: 0 }), handled(2, { kills: 0 })]
    const again = (n: number, attempt: number) => handled(n, { kills: 1, attempt })
    assert.deepEqual(messageFaults(all, [...before, again(2, 2), again(3, 1)]), [])
    assert.deepEqual(messageFaults(all, [...before, again(2, 1), again(3, 1)]), [
      'alice 2 at bob: handled again by another program without a higher attempt',
    ])
    assert.deepEqual(messageFaults(all, [...before, again(1, 2), again(3, 1)]), [
      'alice 1 at bob: handled twice with one state directory',
    ])
  })

  it('is invalid if a message is lost, repeated, unknown, refused or out of order', () => {
    assert.deepEqual(messageFaults([sent(1)], []), ['alice 1 at bob: acknowledged and never handled'])
    assert.deepEqual(messageFaults([sent(1)], [handled(1), handled(1, { attempt: 2 })]), [
      'alice 1 at bob: handled twice with one state directory',
    ])
    assert.deepEqual(messageFaults([sent(1)], [handled(1), handled(1, { state: 'two' })]), [
      'alice 1 at bob: handled again by another program without a higher attempt',
    ])
    assert.deepEqual(messageFaults([], [handled(1)]), ['alice 1 at bob: handled without being sent'])
    assert.deepEqual(messageFaults([sent(1, 'refused')], [handled(1)]), ['alice 1 at bob: refused and handled'])
    assert.deepEqual(messageFaults([sent(1), sent(2)], [handled(2), handled(1)]), ['alice 1 at bob: handled after 2'])
  })
})

spec('the published files', (it) => {
  const upload = { path: 'alice/a', digest: 'aa', isStored: true }

  it('are valid if each stored upload has its bytes, and no other file was published', () => {
    assert.deepEqual(
      fileFaults([upload, { path: 'alice/b', digest: 'bb', isStored: false }], new Map([['alice/a', 'aa']])),
      [],
    )
  })

  it('are invalid if one is missing, different or unknown', () => {
    assert.deepEqual(fileFaults([upload], new Map()), ['alice/a: reported as stored and missing'])
    assert.deepEqual(fileFaults([upload], new Map([['alice/a', 'ab']])), [
      'alice/a: published with other bytes than were sent',
    ])
    assert.deepEqual(fileFaults([], new Map([['alice/a', 'aa']])), ['alice/a: published without being sent'])
  })
})
