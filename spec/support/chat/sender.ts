/**
 * A program that sends numbered messages: `sender.ts PORT NAME JOURNAL RECIPIENT...`. After a kill it sends
 * unacknowledged messages again under the same ids. On SIGTERM it exits when all messages are acknowledged. It sends a message
 * every `SEND_MS` ms.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { createClient } from '../../../lib/index.ts'
import { tcp } from '../../../lib/node.ts'
import { eagerPlatform } from './eager.ts'
import { type Acked, type Intent, isIntent, linesOf } from './history.ts'

const [port, name = '', journal = '', ...recipients] = process.argv.slice(2)
const mostUnanswered = 8

const client = createClient(tcp({ port: Number(port) }), { user: name, platform: eagerPlatform() })
const before = linesOf<Intent | Acked>(journal)
const acked = new Set(before.flatMap((line) => (isIntent(line) ? [] : [line.acked])))
const intents = before.filter(isIntent)
let n = Math.max(-1, ...intents.map((intent) => intent.n))
let stopping = false
let unanswered = 0

const note = (line: Intent | Acked) => appendFileSync(journal, `${JSON.stringify(line)}\n`)

function send({ n, id, to }: Intent): void {
  unanswered++
  client.send(to, JSON.stringify({ n }), { id }).then(
    () => {
      note({ acked: n })
      unanswered--
      if (stopping && unanswered === 0) process.exit(0)
    },
    (error: unknown) => {
      console.error(`message ${n}: ${error instanceof Error ? error.stack : error}`)
      process.exit(1)
    },
  )
}

function sendNext(): void {
  if (stopping || unanswered >= mostUnanswered) return
  const to = recipients.filter(() => randomInt(2) === 0)
  const intent = { n: ++n, id: randomBytes(16).toString('hex'), to: to.length === 0 ? recipients : to }
  note(intent)
  send(intent)
}

process.on('SIGTERM', () => {
  stopping = true
  if (unanswered === 0) process.exit(0)
})
for (const intent of intents) if (!acked.has(intent.n)) send(intent)
setInterval(sendNext, Number(process.env.SEND_MS ?? 10))
console.log('sending')
