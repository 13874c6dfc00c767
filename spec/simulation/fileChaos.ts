import type { Happening } from './chaos.ts'
import { drawBytes } from './files.ts'
import type { World } from './world.ts'

/** What may happen to those who send files. */
export const fileHappenings: readonly Happening[] = [
  { name: 'a file is sent', weight: 14, happen: sendFile },
  { name: 'a client sends all files', weight: 4, happen: sendAllFiles },
  { name: 'all clients send a file', weight: 4, happen: sendFileFromAll },
  { name: 'an upload is paused', weight: 5, happen: pause },
  { name: 'uploads are resumed', weight: 8, happen: resume },
  { name: 'all uploads of a client are paused', weight: 5, happen: pauseAll },
  { name: 'an upload is cancelled', weight: 1, happen: cancel },
  { name: 'another program changes a list of tasks', weight: 5, happen: steer },
  { name: 'a file is written to', weight: 4, happen: writeToFile },
]

type Client = World['clients'][number]
type Upload = Client['open'][number]

function sendFile(world: World): boolean {
  return withClient(world, (client) => client.send(someFile(world, client.user)))
}

/** Much of it is being sent by others, from whom it is taken over. */
function sendAllFiles(world: World): boolean {
  return withClient(world, (client) => {
    for (const file of world.files) if (file.user === client.user) client.send(file)
  })
}

/** All of a user at once, so that they take it from each other. */
function sendFileFromAll(world: World): boolean {
  return withClient(world, ({ user }) => {
    const file = someFile(world, user)
    for (const client of world.clients) if (client.user === user) client.send(file)
  })
}

function pause(world: World): boolean {
  return withUpload(
    world,
    (phase) => phase !== 'paused',
    (client, upload) => client.pause(upload),
  )
}

/** For a moment: it goes on before what is under way has arrived. */
function pauseAll(world: World): boolean {
  return withClient(world, (client) => {
    const { dice, machine } = world
    const { time } = machine
    client.pause()
    time.alarm(time.now() + dice.fraction('time of a pause') * 1_000, () => client.resume())
  })
}

function resume(world: World): boolean {
  return withUpload(
    world,
    (phase) => phase === 'paused',
    (client) => client.resume(),
  )
}

function cancel(world: World): boolean {
  return withUpload(
    world,
    () => true,
    (client, upload) => client.cancel(upload),
  )
}

/** Of a program that does not run. */
function steer(world: World): boolean {
  const fitting = world.clients.flatMap((client) => client.left.map((id) => [client, id] as const))
  if (fitting.length === 0) return false
  const [client, id] = world.dice.pick(fitting, 'a task')
  client.steer(id, world.dice.pick(['pause', 'resume', 'cancel'] as const, 'what is done with a task'))
  return true
}

function writeToFile(world: World): boolean {
  if (world.files.length === 0) return false
  const file = world.dice.pick(world.files, 'a file to write to')
  world.tell(`${file.path} is written to`)
  file.write(drawBytes(world.dice, world.limits.chunkBytes))
  return true
}

function someFile(world: World, user: string): World['files'][number] {
  const own = world.files.filter((file) => file.user === user)
  return world.dice.pick(own, 'a file')
}

function withClient(world: World, act: (client: Client) => void): boolean {
  const fitting = world.clients.filter(({ process }) => process?.frozen === false)
  if (fitting.length === 0) return false
  act(world.dice.pick(fitting, 'a client'))
  return true
}

function withUpload(
  world: World,
  fits: (phase: Upload['phase']) => boolean,
  act: (client: Client, upload: Upload) => void,
): boolean {
  const fitting = world.clients.flatMap((client) =>
    client.open.filter(({ phase }) => phase !== 'cancelling' && fits(phase)).map((upload) => [client, upload] as const),
  )
  if (fitting.length === 0) return false
  act(...world.dice.pick(fitting, 'an upload'))
  return true
}
