import type { NewTransfer, StoredFile } from '../../ports/storage.ts'
import type { Book } from './book.ts'
import { sameUpload } from './claiming.ts'
import { expiriesBefore, expiryKey, noteKey, subjectOf } from './keys.ts'
import { readNote, writeNote } from './rows.ts'
import type { Change } from './shelf.ts'
import type { StoredNames } from './storedNames.ts'

/** The notes of completed uploads. */
export class Notes {
  readonly #book: Book
  readonly #names: StoredNames
  readonly #wallTime: () => number

  constructor(book: Book, names: StoredNames, wallTime: () => number) {
    this.#book = book
    this.#names = names
    this.#wallTime = wallTime
  }

  /** What the note of the same upload says, if one stands and the stored file is still the one it was made of. */
  async completed(want: NewTransfer): Promise<StoredFile | undefined> {
    const note = readNote(await this.#book.shelf.get(noteKey(want.user, want.name)))
    if (!note) return undefined
    const { file, until, stamp, modifiedAt } = note
    if (until < this.#wallTime()) {
      await this.remove(want.user, want.name)
      return undefined
    }
    if (!sameUpload({ ...file, modifiedAt }, want)) return undefined
    return (await this.#names.stamp(want.user, file.storedName)) === stamp ? file : undefined
  }

  /** The changes that put a note about `file` in place, instead of an older one. */
  async changesFor(file: StoredFile, modifiedAt: number, keepMs: number): Promise<Change[]> {
    const changes = await this.#removal(file.user, file.name)
    const stamp = await this.#names.stamp(file.user, file.storedName)
    // Whoever took the published file away meanwhile has made the note pointless.
    if (stamp === undefined) return changes
    const until = this.#wallTime() + keepMs
    return [
      ...changes,
      { key: noteKey(file.user, file.name), value: writeNote({ file, modifiedAt, until, stamp }) },
      { key: expiryKey(until, file.user, file.name), value: '' },
    ]
  }

  /** Whose notes have run out, the oldest first. */
  async expired(limit: number): Promise<{ user: string; name: string }[]> {
    const subjects: { user: string; name: string }[] = []
    for await (const [key] of this.#book.shelf.entries(expiriesBefore(this.#wallTime(), limit))) {
      subjects.push(subjectOf(key))
    }
    return subjects
  }

  /** Removes a note if it has run out: durable. */
  async removeExpired(user: string, name: string): Promise<void> {
    const note = readNote(await this.#book.shelf.get(noteKey(user, name)))
    if (!note || note.until < this.#wallTime()) await this.remove(user, name)
  }

  /** Removes a note, if there is one: durable. */
  async remove(user: string, name: string): Promise<void> {
    const changes = await this.#removal(user, name)
    if (changes.length > 0) await this.#book.shelf.write(changes)
  }

  async #removal(user: string, name: string): Promise<Change[]> {
    const key = noteKey(user, name)
    const text = await this.#book.shelf.get(key)
    if (text === undefined) return []
    const note = readNote(text)
    return note ? [{ key }, { key: expiryKey(note.until, user, name) }] : [{ key }]
  }
}
