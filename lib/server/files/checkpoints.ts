import type { Checkpoint } from '../../ports/storage.ts'

/**
 * `checkpoints` with `latest` behind them, at most `most`. Beyond that the one goes that is missed least: its neighbours
 * are close to each other, measured by how far they lie back. So they are spread over the whole file, densest at its end.
 */
export function withCheckpoint(
  checkpoints: readonly Checkpoint[],
  latest: Checkpoint,
  most: number,
): readonly Checkpoint[] {
  const all = [...checkpoints, latest]
  if (all.length <= most) return all
  const gaps = checkpoints.map(({ offset }, at) => {
    const [before = 0, after = 0] = [all[at - 1]?.offset, all[at + 1]?.offset]
    return (after - before) / (latest.offset - offset)
  })
  const least = gaps.indexOf(Math.min(...gaps))
  return all.filter((_, at) => at !== least)
}
