import { join, resolve } from 'node:path'
import * as z from 'zod/mini'
import { clientLimits } from '../../limits.ts'
import { storedFileName, userName } from '../../nameSchemas.ts'
import { checkArgument, kinds } from '../../options.ts'
import { Mutex } from '../../runtime/mutex.ts'
import { LineFile } from './lineFile.ts'

/** The file is rewritten when it has this many times the lines of `clientLimits.references`. */
const growth = 2

const whole = z.int().check(z.minimum(0))
const hexadecimal = z.string().check(z.regex(/^(?:[0-9a-f]{2})+$/u))

const line = z.object({
  owner: userName,
  name: storedFileName,
  size: whole,
  modifiedAt: whole,
  version: z.string(),
  algorithm: z.enum(['md5', 'sha256', 'xxh128']),
  digest: hexadecimal,
  metadata: z.record(z.string(), z.string()),
  readers: z.readonly(z.array(userName)),
  until: whole,
  proof: hexadecimal,
})

/** A reference to a file, with the fields of `FileReference`. */
type KeptReference = Readonly<z.infer<typeof line>>

/** References to files, from messages that have been received. */
export interface KeptReferences {
  /** Durably adds a reference. If there are too many, the oldest is dropped. */
  add(reference: KeptReference): Promise<void>
  /** Resolves with the references, the latest last. */
  load(): Promise<readonly KeptReference[]>
}

/** Returns the references in a state directory. One process at a time may add some. */
export function keptReferences(directory: string): KeptReferences {
  checkArgument('keptReferences', 'the directory', kinds.path, directory)
  const file = new LineFile(join(resolve(directory), 'references'))
  const turns = new Mutex()
  let latest: readonly KeptReference[] | undefined
  const load = async () => {
    latest = (await file.load()).flatMap((value) => line.safeParse(value).data ?? []).slice(-clientLimits.references)
    return latest
  }
  return {
    load: () => turns.run(load),
    add: (reference) =>
      turns.run(async () => {
        const all = [...(latest ?? (await load())), reference].slice(-clientLimits.references)
        await file.store([reference], growth * clientLimits.references, () => all)
        latest = all
      }),
  }
}
