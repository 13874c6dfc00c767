import type { ClientStatus } from './connection/session.ts'

const order: readonly ClientStatus[] = ['waiting', 'connecting', 'online', 'closed', 'refused']

/** The status of links together: there is one at least. */
export function combinedStatus(statuses: readonly ClientStatus[]): ClientStatus {
  return order.find((status) => statuses.includes(status)) ?? 'connecting'
}
