import { boundMutations } from './boundMutations.ts'
import { clusterFileMutations } from './clusterFileMutations.ts'
import { clusterMutations } from './clusterMutations.ts'
import { databaseMutations } from './databaseMutations.ts'
import { fileMutations } from './fileMutations.ts'
import { messageMutations } from './messageMutations.ts'
import type { Mutation } from './mutation.ts'
import { receiptMutations } from './receiptMutations.ts'

/** Every mutation that `npm run mutate` tries. */
export const mutations: readonly Mutation[] = [
  ...fileMutations,
  ...messageMutations,
  ...receiptMutations,
  ...boundMutations,
  ...clusterMutations,
  ...clusterFileMutations,
  ...databaseMutations,
]
