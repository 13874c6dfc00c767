import assert from 'node:assert/strict'
import { upTo } from '../../../lib/testing/testCases.ts'
import { type mailServer, numbered, numbersOf, roomy } from '../cluster/contract/mail.ts'
import type { MailRig } from './mailRig.ts'

type Server = Awaited<ReturnType<typeof mailServer>>

/** A random generator with a seed. */
export function drawing(seed: number) {
  let state = seed
  return (most: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % most
  }
}

/** The recipients of `postUntil`. */
const recipients = upTo(8).map((number) => `user ${number}`)

/** The messages of a sender in the mailboxes of `recipients`, by their numbers. */
export async function receivedFrom({ all }: Pick<Server, 'all'>, sender: string): Promise<number[][]> {
  const boxes = await Promise.all(recipients.map(all))
  return boxes.map((box) => numbersOf(box.filter((message) => message.sender === sender)))
}

/**
 * Posts messages of one sender until `isOver`, ten in a step, each step until its outcome is known. Resolves with the numbers
 * that each user must have.
 */
export async function postUntil(rig: MailRig, { mail, server }: Server, sender: string, isOver: () => boolean) {
  const random = drawing(sender.length)
  const due: number[][] = recipients.map(() => [])
  for (let number = 1; !isOver(); ) {
    const messages = upTo(10).map(() => {
      const to = recipients.filter(() => random(3) === 0)
      return numbered(number++, to.length > 0 ? to : ['user 1'], { sender })
    })
    const { outcomes } = await rig.run(() => mail.post(server, messages, roomy))
    assert.deepEqual(new Set(outcomes), new Set([undefined]))
    for (const { id, recipients: to } of messages) {
      const posted = new DataView(id.buffer).getUint32(0)
      for (const [at, user] of recipients.entries()) if (to.includes(user)) due[at]?.push(posted)
    }
  }
  return due
}
