/**
 * A server of a cluster that kills itself: `doomedMember.ts DATABASE FILES STEP WHEN`. `STEP` is a step of the shared store, or
 * `publish`; `WHEN` is `before` or `after`.
 */
import { ClusterStorage } from '../../lib/adapters/cluster/clusterStorage.ts'
import { DiskFiles } from '../../lib/adapters/disk/files.ts'
import { layoutOf } from '../../lib/adapters/disk/layout.ts'
import { postgresSteps } from '../../lib/adapters/postgres/postgresSteps.ts'
import { serve } from '../../lib/index.ts'

const [, , url = '', directory = '', doomed = '', when = ''] = process.argv

async function around<T>(step: string, run: () => Promise<T>): Promise<T> {
  const die = (now: string) => step === doomed && now === when && process.kill(process.pid, 'SIGKILL')
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
      return (...given: unknown[]) => around(`${prefix}.${String(key)}`, () => run.apply(target, given))
    },
  })

function dyingAtPublish<A extends unknown[], F extends { publish(...to: A): Promise<unknown> }>(file: F): F {
  const publish = file.publish.bind(file)
  return Object.assign(file, { publish: (...to: A) => around('publish', () => publish(...to)) })
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
      open: async (...given: Parameters<typeof open>) => dyingAtPublish(await open(...given)),
      createAll: async (...given: Parameters<typeof createAll>) => dyingAtPublish(await createAll(...given)),
    })
  },
)
const notify = [{ user: 'ingest' }]
const server = await serve({ listen: 0, storage, links: storage.links, notify })
console.log(`ready on ${server.addresses[0]?.port}`)
