import assert from 'node:assert/strict'
import type { Claim, ClaimOptions, NewTransfer, Storage, StoredFile, TransferRecord } from '../../ports/storage.ts'

type Stores = Pick<Storage, 'transfers' | 'files'>

/** Returns the UTF-8 bytes of a text. */
export const textBytes = (text: string): Uint8Array => new TextEncoder().encode(text)

/** An upload of alice's; its content is `hello`. */
export const wanted: NewTransfer = { user: 'alice', name: 'a', size: 5, modifiedAt: 1_000, algorithm: 'sha256' }
export const hello = textBytes('hello')
const helloDigest = '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824'

/** Returns an owner by the number of its session. */
export function owner(session: number) {
  return { node: session, instance: 1, session: session.toString(16).padStart(32, '0') }
}

/** CONTINUE of an upload that no link holds. */
export const resume: ClaimOptions = { fresh: false, takeOver: false, onConflict: 'replace', at: 1_000_000 }
/** START. */
export const start: ClaimOptions = { ...resume, fresh: true }
/** CONTINUE of an upload that another open link holds. */
export const takeOver: ClaimOptions = { ...resume, takeOver: true }

/** The fields of EarlierFiles. */
type Earlier = Partial<Record<'own' | 'others' | 'unfinished', readonly unknown[]>>

/** Returns whether an error is EarlierFiles with a verified upload. */
export const isEarlierUpload = ({ unfinished }: Earlier): boolean => unfinished?.length === 1

/** Returns whether an error is EarlierFiles with a stored file. */
export const isUnreported = ({ own = [], others = [] }: Earlier): boolean => own.length + others.length === 1

/** Claims an upload that must not be completed. */
export async function claimed(storage: Stores, want: Partial<NewTransfer> = {}, options = resume, by = owner(1)) {
  const answer = await storage.transfers.claim({ ...wanted, ...want }, by, options)
  assert.ok('claim' in answer, 'the upload is completed already')
  return answer
}

/** Returns the stored file of an upload. */
export function fileOf(want: Partial<NewTransfer> = {}, storedName?: string): StoredFile {
  const { user, name, size, algorithm } = { ...wanted, ...want }
  return { user, name, storedName: storedName ?? name, replaced: false, size, algorithm, digest: helloDigest }
}

/** Writes and flushes the whole content under a claim, and closes the partial file. */
export async function fill(storage: Stores, claim: Claim, content = hello): Promise<void> {
  await using file = await storage.files.open(claim)
  await file.write(0, [content])
  await file.flush()
}

/** Claims an upload and opens its partial file, which stays open until the storage is closed. Writes `content`, if any. */
export async function opened(storage: Stores, want: Partial<NewTransfer> = {}, content?: Uint8Array) {
  const { claim } = await claimed(storage, want)
  if (content) await fill(storage, claim, content)
  return { claim, file: await storage.files.open(claim) }
}

/** Runs an upload to its completion marker, and reports the file. */
export async function upload(...given: Parameters<typeof unreportedUpload>) {
  const [{ transfers }] = given
  const stored = await unreportedUpload(...given)
  await transfers.reported([stored])
  return stored
}

/** Runs an upload to its completion marker. */
export async function unreportedUpload(
  storage: Stores,
  want: Partial<NewTransfer> = {},
  content = hello,
  keepNoteMs = 60_000,
  storedName?: string,
) {
  const { claim } = await claimed(storage, want, start)
  const stored = fileOf(want, storedName)
  await fill(storage, claim, content)
  await storage.transfers.verified(claim, stored)
  await using file = await storage.files.open(claim)
  assert.equal(await file.publish(stored.storedName, true), true)
  await storage.transfers.complete(claim, keepNoteMs)
  return stored
}

/** Returns all records, or those of one user, in the order of their names. */
export async function recordsOf({ transfers }: Stores, user?: string): Promise<TransferRecord[]> {
  const records: TransferRecord[] = []
  for await (const record of transfers.records(user)) records.push(record)
  return records.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Returns the content of a partial file as text. */
export async function textOf(storage: Stores, claim: Claim): Promise<string> {
  await using file = await storage.files.open(claim)
  const bytes = new Uint8Array(file.length)
  assert.equal(await file.read(bytes, 0), file.length)
  return new TextDecoder().decode(bytes)
}
