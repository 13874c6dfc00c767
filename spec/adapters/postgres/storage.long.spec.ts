import type { Steps } from '../../../lib/adapters/cluster/steps.ts'
import { postgresSteps } from '../../../lib/adapters/postgres/postgresSteps.ts'
import type { Platform } from '../../../lib/ports/platform.ts'
import { type StorageKind, type StoragePlace, storageContract } from '../../../lib/testing.ts'
import { databaseMissing } from '../../support/postgres.ts'
import { runTestCases } from '../../support/runTestCases.ts'
import { spec } from '../../support/spec.ts'
import { clusterExceptions, sharedPlace } from '../cluster/sharedPlace.ts'
import { emptyStore } from './stores.ts'

/** Returns an object with the methods of a class. */
function plain<T extends object>(part: T): T {
  const names = Object.getOwnPropertyNames(Object.getPrototypeOf(part)).filter((name) => name !== 'constructor')
  return Object.fromEntries(names.map((name) => [name, (Reflect.get(part, name) as () => void).bind(part)])) as T
}

/** Steps whose completion markers are valid at the wall time of the platform, which tests set. The database has its own clock. */
function onWallClockOf({ clock }: Platform, steps: Steps): Steps {
  const transfers = plain(steps.transfers)
  const untilOf = (until: number) => Date.now() + until - clock.wallTime()
  return {
    ...steps,
    mail: plain(steps.mail),
    files: plain(steps.files),
    transfers: {
      ...transfers,
      complete: (claim, until) => transfers.complete(claim, untilOf(until)),
      announce: (server, files, until, by) => transfers.announce(server, files, untilOf(until), by),
    },
  }
}

async function location(): Promise<StoragePlace> {
  const store = await emptyStore()
  const place = await sharedPlace((platform) =>
    onWallClockOf(platform, postgresSteps({ url: store.url, connections: 4 })),
  )
  return {
    ...place,
    async [Symbol.asyncDispose]() {
      await place[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
    },
  }
}

/** Further cases that do not apply to a database. */
const exceptions = new Set<string>([
  // Completion markers end by the clock of the database.
  'stays until its time is over',
  'outlives others that expire',
  'is found while its completion marker exists, and no other is',
  // A message without recipients has no seq. `mailModel.spec.ts` compares the rest.
  'equal a simple model after random calls and restarts',
])

const kind: StorageKind = { name: 'PostgreSQL', location }

if (databaseMissing === undefined) {
  const cases = storageContract(kind, { seed: 7 })
  runTestCases(cases.filter(({ name, skipped }) => !skipped && !clusterExceptions.has(name) && !exceptions.has(name)))
} else {
  const reason = databaseMissing
  spec('a PostgreSQL storage', (it) => it.skip('keeps the promises of a storage', reason))
}
