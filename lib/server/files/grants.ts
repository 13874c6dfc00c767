import { OspError } from '../../errors.ts'
import type { Catalogue } from '../../ports/catalogue.ts'
import { hmac } from '../../runtime/hmac.ts'
import { same } from '../../runtime/incrementalDigest.ts'
import { Writer } from '../../wire/codec.ts'
import { list, str, struct, u64 } from '../../wire/fields.ts'
import type { WireMessage } from '../../wire/message.ts'
import type { ServerContext } from '../app.ts'

/** The right of some users to read a version of a file until `until`, in ms of the age clock. */
interface GrantedFile {
  readonly owner: string
  readonly fileName: string
  readonly version: string
  readonly readers: readonly string[]
  readonly until: number
}

const granted = struct({ owner: str, fileName: str, version: str, readers: list(str), until: u64 })

/**
 * Proves and checks the right to read a file of another user. A reference contains an HMAC of the grant with a key that only the
 * servers know. The grant is not stored anywhere else.
 */
export class Grants {
  readonly #context: Pick<ServerContext, 'platform' | 'age'>
  readonly #catalogue: Catalogue

  constructor(context: Pick<ServerContext, 'platform' | 'age'>, catalogue: Catalogue) {
    this.#context = context
    this.#catalogue = catalogue
  }

  /** Resolves with the proof of a grant. */
  async proof(grant: GrantedFile): Promise<Uint8Array> {
    const writer = new Writer(granted.size(grant))
    granted.write(writer, grant)
    return hmac(this.#context.platform.digests, await this.#catalogue.key(), writer.bytes)
  }

  /**
   * Resolves with the owner of the file that a request of `user` reads. Rejects with OspError `unauthorized` if the grant is not
   * valid for the user and the file, and with `gone` if the grant has expired.
   */
  async ownerOf(user: string, { grant, fileName, version }: WireMessage<'ReadFileReq'>): Promise<string> {
    if (!grant) return user
    const { owner, readers, until, proof } = grant
    const isValid =
      readers.includes(user) && same(proof, await this.proof({ owner, fileName, version, readers, until }))
    if (!isValid) throw new OspError('unauthorized', 'the reference does not permit this user to read the file')
    if (until < this.#context.age.now()) throw new OspError('gone', 'the permission to read the file has expired')
    return owner
  }
}
