/**
 * A server of a cluster that kills itself: `doomedMember.ts DATABASE FILES STEP WHEN USER`. `STEP` is a step of the shared store, or
 * `publish`; `WHEN` is `before` or `after`. Only a step for a file of `USER` kills it: a server also reports the files of servers
 * that are declared dead, at any time.
 */
import { inspect } from 'node:util'
import { ClusterStorage } from '../../lib/adapters/cluster/clusterStorage.ts'
import { DiskFiles } from '../../lib/adapters/disk/files.ts'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import { postgresSteps } from '../../lib/adapters/postgres/postgresSteps.ts'
import { serve } from '../../lib/index.ts'

const [, , url = '', directory = '', doomed = '', when = '', user = ''] = process.argv

/** Runs a step. `given`: its arguments, which contain the users of its files. */
async function around<T>(step: string, given: unknown, run: () => Promise<T>): Promise<T> {
  const isMeant = step === doomed && inspect(given, { depth: null }).includes(`'${user}'`)
  const die = (now: string) => isMeant && now === when && process.kill(process.pid, 'SIGKILL')
  die('before')
  const result = await run()
  die('after')
  return result
}

/** Returns steps of which one kills this process. */
const dying = <T extends object>(part: T, prefix: string): T =>
  new Proxy(part, {
    get(target, key) {
      const run = Reflect.get(target, key, target) as (...given: unknown[]) => Promise<unknown>
      return (...given: unknown[]) => around(`${prefix}.${String(key)}`, given, () => run.apply(target, given))
    },
  })

function dyingAtPublish<A extends unknown[], F extends { publish(...to: A): Promise<unknown> }>(
  given: unknown,
  file: F,
): F {
  const publish = file.publish.bind(file)
  return Object.assign(file, { publish: (...to: A) => around('publish', given, () => publish(...to)) })
}

const steps = postgresSteps({ url })
const { mail, transfers } = steps
const storage = new ClusterStorage(
  Object.assign(steps, { mail: dying(mail, 'mail'), transfers: dying(transfers, 'transfers') }),
  { name: 'doomed', version: '2', address: '' },
  (claims, digests) => {
    const files = new DiskFiles(layoutOf(directory), claims, async () => {}, digests, claims)
    const open = files.open.bind(files)
    const createAll = files.createAll.bind(files)
    return Object.assign(files, {
      open: async (...given: Parameters<typeof open>) => dyingAtPublish(given, await open(...given)),
      createAll: async (...given: Parameters<typeof createAll>) => dyingAtPublish(given, await createAll(...given)),
    })
  },
)
const notify = [{ user: 'ingest' }]
const server = await serve({ listen: 0, storage, links: storage.links, notify })
console.log(`ready on ${server.addresses[0]?.port}`)
