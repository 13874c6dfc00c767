import type { Mutation } from './mutation.ts'

/** Faults of receipts. */
export const receiptMutations: readonly Mutation[] = [
  {
    fault: 'a rejected message has no receipt',
    file: 'lib/storage/mailboxes/messageSettler.ts',
    within: '#store',
    pattern: 'askingId === undefined || wasAside',
    replacement: "askingId === undefined || wasAside || kind === 'aside'",
    shownBy: 'messages',
  },
  {
    fault: 'a receipt that is read from the journal does not remove its message',
    file: 'lib/storage/mailboxes/mailboxContents.ts',
    within: 'enterSettled',
    pattern: 'else index.remove(receipt.recipient, seq)',
    replacement: '',
    shownBy: 'messages',
  },
  {
    fault: 'a receipt is removed before the program has it',
    file: 'lib/client/messages/messageReceipts.ts',
    within: '#dispatch',
    pattern: 'this.#taken.set(seq, true)',
    replacement: 'this.#taken.set(seq, true)\n    this.#remove(seq)',
    shownBy: 'spec/client/messages/messageReceipts.spec.ts',
  },
  {
    fault: 'an expired message counts as handled',
    file: 'lib/server/messages/delivery.ts',
    within: '#expire',
    pattern: "state: 'expired'",
    replacement: "state: 'handled'",
    shownBy: 'messages',
  },
  {
    fault: 'the result of a message that is delivered again is lost',
    file: 'lib/client/messages/inbox.ts',
    within: '#takeOne',
    pattern: 'delivered.result = receipts.resultOf(delivered)',
    replacement: '',
    shownBy: 'messages',
  },
  {
    fault: 'receipts that are expected are not counted in the limit of receipts',
    file: 'lib/storage/mailboxes/messageAppender.ts',
    within: '#checkBounds',
    pattern: 'index.expectedBy(sender) + waitingReceipts',
    replacement: 'waitingReceipts',
    shownBy: 'spec/testing/storage.spec.ts',
  },
  {
    fault: 'the messages about two versions of a file have the same id',
    file: 'lib/runtime/messageId.ts',
    within: 'versionMessageId',
    pattern: ' << 1n',
    replacement: '',
    shownBy: 'spec/runtime/messageId.spec.ts',
  },
  {
    fault: 'the message about a file has the id of the one about another version to other users',
    file: 'lib/runtime/messageId.ts',
    within: 'versionMessageId',
    pattern: '& 0xfe) | ((id.at(-1) ?? 0) & 1)',
    replacement: '& 0xff)',
    shownBy: 'spec/runtime/messageId.spec.ts',
  },
]
