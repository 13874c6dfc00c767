import type { Checkpoint } from '../ports/storage.ts'

/**
 * `checkpoints` with `latest` behind them, at most `most`. Beyond that every second one of the older half goes, so that
 * they stay spread over the file, densest at its end.
 */
export function withCheckpoint(
  checkpoints: readonly Checkpoint[],
  latest: Checkpoint,
  most: number,
): readonly Checkpoint[] {
  const all = [...checkpoints, latest]
  if (all.length <= most) return all
  const half = Math.ceil(all.length / 2)
  return all.filter((_, at) => at >= half || at % 2 === 1)
}
