import type { Mutation } from './mutation.ts'

/** Faults of uploads to several servers that share a tree of files. */
export const clusterFileMutations: readonly Mutation[] = [
  {
    fault: 'the token of a claim is not compared when its checkpoints are stored',
    file: 'lib/adapters/memory/sharedTransfers.ts',
    within: 'checkpoint',
    pattern: 'const row = this.#rowOf(claim)',
    replacement: 'const row = this.#rows.get(recordKey(claim.user, claim.name))',
    shownBy: 'cluster-files',
  },
  {
    fault: 'the token of a claim is not compared when its upload is completed',
    file: 'lib/adapters/memory/sharedTransfers.ts',
    within: 'complete',
    pattern: 'const row = this.#rowOf(claim)',
    replacement: 'const row = this.#rows.get(key)',
    shownBy: 'cluster-files',
  },
  {
    fault: 'the paths of partial files have no token',
    file: 'spec/simulation/cluster/sharedTree.ts',
    within: 'pathOf',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    pattern: '${token}',
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source text
    replacement: '${Math.min(token, 1)}',
    shownBy: 'cluster-files',
  },
  {
    fault: 'a takeover does not copy a file that its former owner may have open',
    file: 'spec/simulation/cluster/treeFiles.ts',
    within: '#takeOver',
    pattern: 'const isClosed = isFinal || !this.#claims.mayBeOpen({ ...claim, token: former.token })',
    replacement: 'const isClosed = isFinal || former.token > 0',
    shownBy: 'cluster-files',
  },
  {
    fault: 'the upload of a dead server counts as released',
    file: 'lib/adapters/cluster/clusterClaims.ts',
    within: 'mayBeOpen',
    pattern: '?.released !== token',
    replacement: '?.released === undefined && token > 0',
    shownBy: 'cluster-files',
  },
  {
    fault: 'a takeover leaves the file at the path of its former owner',
    file: 'spec/simulation/cluster/sharedTree.ts',
    within: 'move',
    pattern: 'this.partial.delete(from)',
    replacement: '',
    shownBy: 'cluster-files',
  },
  {
    fault: 'a server announces a file while a stopped one can publish an earlier file of the name',
    file: 'lib/adapters/cluster/clusterAnnouncements.ts',
    within: '#announce',
    pattern: 'await this.#names.discard?.(source)',
    replacement: '',
    shownBy: 'cluster-files',
  },
  {
    fault: 'a server claims an upload while a stopped one can publish an earlier file of the name',
    file: 'lib/adapters/cluster/clusterTransfers.ts',
    within: '#claim',
    pattern: 'if (unpublished !== undefined) await this.#names.discard?.(unpublished)',
    replacement: '',
    shownBy: 'cluster-files',
  },
  {
    fault: 'a stopped server can publish an upload that a small file has ended',
    file: 'lib/adapters/cluster/clusterAnnouncements.ts',
    within: 'announce',
    pattern: 'if (isLeft) await this.#names.dropPartial(user, name)',
    replacement: '',
    shownBy: 'cluster-files',
  },
  {
    fault: 'a server forgets an announced file of a dead server that it can still publish',
    file: 'lib/adapters/cluster/clusterAnnouncements.ts',
    within: 'unreported',
    pattern: 'if (source !== undefined) await this.#names.discard?.(source)',
    replacement: '',
    shownBy: 'spec/adapters/cluster/clusterTransfers.spec.ts',
  },
]
