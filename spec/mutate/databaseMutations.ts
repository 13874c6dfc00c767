import type { Mutation } from './mutation.ts'

const mailFunctions = { file: 'lib/adapters/postgres/schema/mailFunctions.ts', within: 'mailFunctions' }

/** Faults of the shared store in a database. */
export const databaseMutations: readonly Mutation[] = [
  {
    fault: 'mailboxes in a database are locked in any order',
    ...mailFunctions,
    pattern: 'WHERE name = ANY (p_names) ORDER BY id FOR NO KEY UPDATE',
    replacement: 'WHERE name = ANY (p_names) ORDER BY md5(random()::text) FOR NO KEY UPDATE',
    shownBy: 'spec/adapters/postgres/mailLoss.spec.ts',
  },
  {
    fault: 'mailboxes in a database are not locked',
    ...mailFunctions,
    pattern: 'WHERE name = ANY (p_names) ORDER BY id FOR NO KEY UPDATE',
    replacement: 'WHERE name = ANY (p_names) ORDER BY id',
    shownBy: 'spec/adapters/postgres/mail.spec.ts',
  },
  {
    fault: 'a database stores a message of a link that another one has replaced',
    ...mailFunctions,
    pattern: 'AND s.server = p_server AND s.link = u.link',
    replacement: '',
    shownBy: 'spec/adapters/postgres/contract.spec.ts',
  },
  {
    fault: 'mailboxes in a database are added in any order',
    ...mailFunctions,
    pattern: 'ORDER BY n COLLATE "C"',
    replacement: 'ORDER BY md5(random()::text)',
    shownBy: 'spec/adapters/postgres/mailLoss.spec.ts',
  },
  {
    fault: 'a database stores a message that does not fit within the share of its sender',
    ...mailFunctions,
    pattern: 'p_own = 0 OR',
    replacement: 'true OR',
    shownBy: 'spec/adapters/postgres/mail.spec.ts',
  },
  {
    fault: 'the first waiting message of a mailbox in a database is not read after a removal',
    ...mailFunctions,
    pattern: 'SELECT m.seq - 1 FROM',
    replacement: 'SELECT m.seq FROM',
    shownBy: 'spec/adapters/postgres/mail.spec.ts',
  },
  {
    fault: 'a takeover in a database does not mark what the former program may have received',
    ...mailFunctions,
    pattern: 'ELSE greatest(b.handed, b.last_seq) END',
    replacement: 'ELSE b.handed END',
    shownBy: 'spec/adapters/postgres/mail.spec.ts',
  },
  {
    fault: 'a registration in a database is ended by the end of an earlier one',
    file: 'lib/adapters/postgres/mail.ts',
    within: 'unlisten',
    pattern: 'AND epoch = $2 AND',
    replacement: 'AND epoch >= $2 AND',
    shownBy: 'spec/adapters/postgres/mail.spec.ts',
  },
  {
    fault: 'an upload at a server of a cluster is not compared with those at the other servers',
    file: 'lib/adapters/cluster/clusterTransfers.ts',
    within: 'reservedFor',
    pattern: 'await reservation.check(others)',
    replacement: 'void others',
    shownBy: 'spec/server/files/quotaOfServers.spec.ts',
  },
  {
    fault: 'a claim in a database does not find what the other uploads have reserved',
    file: 'lib/adapters/postgres/schema/claimFunctions.ts',
    within: 'claimFunctions',
    pattern: 'coalesce(sum(t.reserved) FILTER (WHERE t.receives), 0)::bigint',
    replacement: '0::bigint',
    shownBy: 'spec/adapters/postgres/contract.spec.ts',
  },
  {
    fault: 'the crash of a database ends the process',
    file: 'lib/adapters/postgres/database.ts',
    within: 'open',
    pattern: "this.#pool.on('connect', (client) => client.on('error', () => {}))",
    replacement: '',
    shownBy: 'spec/adapters/postgres/mailLoss.spec.ts',
  },
  {
    fault: 'a step whose answer was lost is not repeated',
    file: 'lib/adapters/postgres/errors.ts',
    within: 'stepFailureOf',
    pattern: 'if (!isReported(error)) return new OutcomeUnknown(',
    replacement: "if (!isReported(error)) return new OspError('internal', ",
    shownBy: 'spec/adapters/postgres/mailLoss.spec.ts',
  },
]
