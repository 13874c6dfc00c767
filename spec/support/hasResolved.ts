import { turn } from './turn.ts'

/** Returns whether the promise has resolved by the next turn. */
export async function hasResolved(work: Promise<void>): Promise<boolean> {
  let over = false
  void work.then(() => {
    over = true
  })
  await turn()
  return over
}
