import { drawBytes } from './files.ts'
import type { World } from './world.ts'

/** What may happen to a world at any time, and how often beside the others. */
const happenings: readonly (readonly [weight: number, happen: (world: World) => void])[] = [
  [3, (world) => world.server.kill(false)],
  [3, (world) => world.server.kill(true)],
  [8, (world) => world.server.start()],
  [5, (world) => someClient(world).kill()],
  [12, (world) => someClient(world).start()],
  [8, cutLink],
  [2, cutNetwork],
  [14, sendFile],
  [3, (world) => withUpload(world, 'paused', false, (client, upload) => client.pause(upload))],
  [6, (world) => someClient(world).resume()],
  [1, (world) => withUpload(world, 'cancelling', false, (client, upload) => client.cancel(upload))],
  [4, writeToFile],
]

/** Lets something happen, drawn by weight. */
export function happen(world: World): void {
  const { random } = world.machine
  const all = happenings.reduce((sum, [weight]) => sum + weight, 0)
  let drawn = random.fraction('what happens') * all
  for (const [weight, run] of happenings) {
    drawn -= weight
    if (drawn < 0) {
      run(world)
      return
    }
  }
}

function sendFile(world: World): void {
  const client = someClient(world)
  client.send(someFile(world, client.user))
}

function someClient(world: World): World['clients'][number] {
  return world.machine.random.pick(world.clients, 'a client')
}

function someFile(world: World, user: string): World['files'][number] {
  const own = world.files.filter((file) => file.user === user)
  return world.machine.random.pick(own, 'a file')
}

function cutLink(world: World): void {
  const links = [...world.network.links]
  if (links.length === 0) return
  const chosen = world.machine.random.pick(links, 'a link')
  world.tell('a link is cut')
  world.network.cut((link) => link === chosen)
}

/** Nothing passes for a while. A reliable link does not outlive that, a lossy one may. */
function cutNetwork(world: World): void {
  const { network, machine } = world
  if (network.down) return
  world.tell('the network is down')
  network.down = true
  if (network.faults.reliable) network.cut(() => true)
  const ms = machine.random.integer(100, 40_000, 'time that the network is down')
  machine.time.alarm(machine.time.now() + ms, () => {
    network.down = false
  })
}

type Client = World['clients'][number]
type Upload = Client['open'][number]

function withUpload(world: World, phase: string, is: boolean, act: (client: Client, upload: Upload) => void): void {
  const client = someClient(world)
  const fitting = client.open.filter((upload) => (upload.phase === phase) === is && upload.phase !== 'cancelling')
  if (fitting.length > 0) act(client, world.machine.random.pick(fitting, 'an upload'))
}

function writeToFile(world: World): void {
  const file = world.machine.random.pick(world.files, 'a file to write to')
  world.tell(`${file.name} is written to`)
  file.write(drawBytes(world.machine.random, world.limits.chunkBytes))
}
