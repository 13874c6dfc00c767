import type { Mutation } from './mutation.ts'

/** Faults of several servers that share a store. */
export const clusterMutations: readonly Mutation[] = [
  {
    fault: 'a registration at another server does not count the messages of the earlier one as sent',
    file: 'lib/adapters/memory/sharedMail.ts',
    within: 'listen',
    pattern: 'box.handed = Math.max(box.handed, box.lastSeq)',
    replacement: '',
    shownBy: 'cluster-messages',
  },
  {
    fault: 'the late end of a registration ends a newer one',
    file: 'lib/server/connections/localLinks.ts',
    within: 'unlisten',
    pattern: 'if (this.#listening.get(user)?.epoch === epoch)',
    replacement: 'if (epoch > 0)',
    shownBy: 'spec/testing/links.spec.ts',
  },
  {
    fault: 'a message of a link that was replaced at another server is stored',
    file: 'lib/adapters/memory/sharedMail.ts',
    within: 'post',
    pattern: '!this.#sessions.has(link)',
    replacement: 'false',
    shownBy: 'spec/adapters/memory/sharedStore.spec.ts',
  },
  {
    fault: 'a server does not pass the link of a message on to the shared store',
    file: 'lib/adapters/cluster/mailBatcher.ts',
    within: '#postRound',
    pattern: 'post(server, round.messages, bounds, links)',
    replacement: 'post(server, round.messages, bounds)',
    shownBy: 'spec/adapters/cluster/clusterMailboxes.spec.ts',
  },
  {
    fault: 'two servers give their links the same numbers',
    file: 'lib/adapters/memory/sharedServers.ts',
    within: 'linkBlock',
    pattern: 'this.#nextBlock += linkBlockSize',
    replacement: '',
    shownBy: 'cluster-messages',
  },
  {
    fault: 'a registration stays in the directory although its link has ended while it waited',
    file: 'lib/server/messages/msgApp.ts',
    within: '#enter',
    pattern: 'if (link) this.#unlisten(link, 0)',
    replacement: '',
    shownBy: 'spec/server/messages/msgAppLinks.spec.ts',
  },
  {
    fault: 'changes of the registration of one link overtake each other',
    file: 'lib/server/messages/msgApp.ts',
    within: '#register',
    pattern: 'this.#changes.run(',
    replacement: '((_: string, change: () => Promise<undefined>) => change())(',
    shownBy: 'spec/server/messages/msgAppLinks.spec.ts',
  },
  {
    fault: 'a message that another server has removed loses its place in the window before it is answered',
    file: 'lib/server/messages/delivery.ts',
    within: '#repeat',
    pattern: 'if (this.#context.mailboxes.watch && this.#caller.reliable) return this.#flushed(batch)',
    replacement: '',
    shownBy: 'spec/server/sharedStorage.spec.ts',
  },
]
