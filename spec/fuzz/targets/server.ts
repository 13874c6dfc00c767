import { linkCount, mangled, noise, steps } from '../server/mangle.ts'
import { recorded } from '../server/recordings.ts'
import { Stage } from '../server/stage.ts'
import { loadDigests } from '../server/streamTransport.ts'
import type { Pieces, Target } from '../target.ts'

/**
 * A whole server that receives mutated conversations on up to three links, beside a client that it must not disturb.
 */
export async function serverTarget(): Promise<Target> {
  await loadDigests()
  const scripts = await recorded()
  return {
    make: (draw) => (draw.once(6) ? noise(scripts, draw) : mangled(scripts, draw)),
    run,
    [Symbol.asyncDispose]: async () => {},
  }
}

async function run(pieces: Pieces): Promise<void> {
  const stage = await Stage.open()
  for (const piece of pieces) {
    const [step = 0, tenths = 0] = piece
    const link = (step & 0x0f) % linkCount
    while (stage.links.length <= link) stage.enter()
    if (step >= steps.passed) stage.platform.clock.pass(100 * tenths)
    else if (step >= steps.ended) stage.links[link]?.hearEnd()
    else stage.links[link]?.hear(piece.subarray(1))
    await stage.step()
  }
  await stage.end()
}
