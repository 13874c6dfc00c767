import { drawBytes } from './files.ts'
import type { SeededRandom } from './random.ts'
import type { World } from './world.ts'

interface Happening {
  readonly name: string
  /** How often it happens beside the others, before a world has drawn how often it does in it. */
  readonly weight: number
  /** False: there is nothing that it could happen to. */
  readonly happen: (world: World) => boolean
}

/** How often it is drawn what happens until something can. */
const mostDraws = 8

/** What may happen to a world at any time. */
const happenings: readonly Happening[] = [
  { name: 'the server is killed', weight: 3, happen: (world) => world.server.kill(false) },
  { name: 'the power fails', weight: 3, happen: (world) => world.server.kill(true) },
  { name: 'a client is killed', weight: 5, happen: killClient },
  { name: 'a link is cut', weight: 8, happen: cutLink },
  { name: 'the network is cut', weight: 2, happen: cutNetwork },
  { name: 'a file is sent', weight: 14, happen: sendFile },
  { name: 'a client sends all files', weight: 4, happen: sendAllFiles },
  { name: 'all clients send a file', weight: 4, happen: sendFileFromAll },
  { name: 'an upload is paused', weight: 5, happen: pause },
  { name: 'uploads are resumed', weight: 8, happen: resume },
  { name: 'all uploads of a client are paused', weight: 5, happen: pauseAll },
  { name: 'an upload is cancelled', weight: 1, happen: cancel },
  { name: 'a file is written to', weight: 4, happen: writeToFile },
]

/** What mends others, so that no world can do without it. */
const mendings: readonly Happening[] = [
  { name: 'the server starts', weight: 8, happen: (world) => world.server.start() },
  { name: 'a client starts', weight: 12, happen: startClient },
]

/** What happens in one world, and how often. */
export class Chaos {
  readonly #weighed: readonly (readonly [weight: number, happen: Happening['happen']])[]

  /** Each world has its own troubles: what is rare among all of them, or hidden by others, is frequent in some. */
  constructor(random: SeededRandom) {
    const drawn = happenings.map(({ name, weight, happen }) => {
      return [weight * random.pick([0, 1, 1, 5], `how often ${name}`), happen] as const
    })
    this.#weighed = [...drawn, ...mendings.map(({ weight, happen }) => [weight, happen] as const)]
  }

  /** Lets something happen that can, drawn by weight. */
  happen(world: World): void {
    for (let draws = 0; draws < mostDraws; draws++) if (this.#draw(world.machine.random)(world)) return
  }

  #draw(random: SeededRandom): Happening['happen'] {
    const all = this.#weighed.reduce((sum, [weight]) => sum + weight, 0)
    let drawn = random.fraction('what happens') * all
    for (const [weight, happen] of this.#weighed) {
      drawn -= weight
      if (drawn < 0) return happen
    }
    throw new RangeError('the weights do not add up')
  }
}

type Client = World['clients'][number]
type Upload = Client['open'][number]

function killClient(world: World): boolean {
  return withClient(world, true, (client) => client.kill())
}

function startClient(world: World): boolean {
  return withClient(world, false, (client) => client.start())
}

function sendFile(world: World): boolean {
  return withClient(world, true, (client) => client.send(someFile(world, client.user)))
}

/** Much of it is being sent by others, from whom it is taken over. */
function sendAllFiles(world: World): boolean {
  return withClient(world, true, (client) => {
    for (const file of world.files) if (file.user === client.user) client.send(file)
  })
}

/** All of a user at once, so that they take it from each other. */
function sendFileFromAll(world: World): boolean {
  return withClient(world, true, ({ user }) => {
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
  return withClient(world, true, (client) => {
    const { random, time } = world.machine
    client.pause()
    time.alarm(time.now() + random.fraction('time of a pause') * 1_000, () => client.resume())
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

function writeToFile(world: World): boolean {
  const file = world.machine.random.pick(world.files, 'a file to write to')
  world.tell(`${file.name} is written to`)
  file.write(drawBytes(world.machine.random, world.limits.chunkBytes))
  return true
}

function cutLink(world: World): boolean {
  const links = [...world.network.links]
  if (links.length === 0) return false
  const chosen = world.machine.random.pick(links, 'a link')
  world.tell('a link is cut')
  world.network.cut((link) => link === chosen)
  return true
}

/** Nothing passes for a while. A reliable link does not outlive that, a lossy one may. */
function cutNetwork(world: World): boolean {
  const { network, machine } = world
  if (network.down) return false
  world.tell('the network is down')
  network.down = true
  if (network.faults.reliable) network.cut(() => true)
  const ms = machine.random.integer(100, 40_000, 'time that the network is down')
  machine.time.alarm(machine.time.now() + ms, () => {
    network.down = false
  })
  return true
}

function someFile(world: World, user: string): World['files'][number] {
  const own = world.files.filter((file) => file.user === user)
  return world.machine.random.pick(own, 'a file')
}

function withClient(world: World, running: boolean, act: (client: Client) => void): boolean {
  const fitting = world.clients.filter((client) => client.running === running)
  if (fitting.length === 0) return false
  act(world.machine.random.pick(fitting, 'a client'))
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
  act(...world.machine.random.pick(fitting, 'an upload'))
  return true
}
