import { boundMutations } from './boundMutations.ts'
import { fileMutations } from './fileMutations.ts'
import { messageMutations } from './messageMutations.ts'
import type { Mutation } from './mutation.ts'

/**
 * Every mutation that `npm run mutate` tries. Any change of random draws, waits or frames changes the run of a seed;
 * the command then reports the seeds that no longer show their fault, and suggests others.
 */
export const mutations: readonly Mutation[] = [...fileMutations, ...messageMutations, ...boundMutations]
