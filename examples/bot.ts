// A program that answers messages: `node bot.ts`, until Ctrl-C. Send it one with `osp msg bot "add 1 2"`.
import { createClient } from 'ospd'
import { stateDirectory } from 'ospd/node'

const to = `ospd://127.0.0.1:${process.env.PORT ?? 6682}`
const bot = createClient(to, { user: 'bot', state: stateDirectory('./bot-state') })
bot.on('status', (status, error) => status === 'waiting' && console.error(error?.message))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => bot.close())

for await (const message of bot.messages()) {
  const [command, ...words] = message.text().split(' ')
  const sum = words.reduce((total, word) => total + Number(word), 0)
  const answer = command === 'add' && !Number.isNaN(sum) ? `${sum}` : 'the only command is: add NUMBER...'
  // If the program is killed before the next message, this one arrives again. The id ensures that the answer is stored only once.
  await message.reply(answer, { id: message.id })
  console.log(`${message.from}: ${message.text()} -> ${answer}`)
}
