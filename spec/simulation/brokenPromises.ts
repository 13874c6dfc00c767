import type { Mutation } from './mutations.ts'

const files = (seed: number) => ({ world: 'files', seed }) as const
const messages = (seed: number) => ({ world: 'messages', seed }) as const

/** Promises of files and links, each broken at one place; and two faults that were found, which stand first. */
export const brokenPromises: readonly Mutation[] = [
  {
    fault: 'a file is published that was damaged after it had been verified',
    file: 'lib/server/files/publish.ts',
    before: '    await checkIntact(options, partial, file)\n',
    after: '',
    shownBy: 'spec/server/files/ending.spec.ts',
  },
  {
    fault: 'a server has closed while it still ends links that it has refused',
    file: 'lib/server/server.ts',
    before: '      await Promise.all(this.#leaving)\n',
    after: '',
    shownBy: files(81),
  },
  {
    fault: 'a file is acknowledged before it is flushed',
    file: 'lib/server/files/transfer.ts',
    before: '    await this.#partial.flush()\n    const file',
    after: '    const file',
    shownBy: files(3),
  },
  {
    fault: 'a checkpoint is recorded before its bytes are flushed',
    file: 'lib/server/files/transfer.ts',
    before: '    await this.#partial.flush()\n    await storage',
    after: '    await storage',
    shownBy: files(147),
  },
  {
    fault: 'a flush is trusted after one that failed',
    file: 'lib/server/files/checkpointer.ts',
    before: '    this.#failure ??= OspError.from(error)\n',
    after: '    void error\n',
    shownBy: files(69),
  },
  {
    fault: 'a file is published whatever its digest is',
    file: 'lib/server/files/transfer.ts',
    before: 'if (!same(own, digest)) {',
    after: 'if (own.length !== digest.length) {',
    shownBy: 'spec/server/files/ending.spec.ts',
  },
  {
    fault: 'the reply of a request is forgotten, and it is carried out again',
    file: 'lib/core/link.ts',
    before: 'const admitted = this.replies.admit(frame.seq)',
    after: "const admitted = 'carry out' as ReturnType<Replies['admit']>",
    shownBy: messages(13),
  },
  {
    fault: 'the record of an upload is dropped before its file is in its place',
    file: 'lib/server/files/publish.ts',
    before:
      '    if (!(await take(partial, storedName, onConflict))) continue\n    await storage.transfers.complete(claim, noteMs)\n',
    after:
      '    await storage.transfers.complete(claim, noteMs)\n    if (!(await take(partial, storedName, onConflict))) continue\n',
    shownBy: files(1),
  },
  {
    fault: 'nobody notes that an upload is completed',
    file: 'lib/storage/transfers/transfers.ts',
    before: 'await this.#book.shelf.write([{ key }, ...note])',
    after: 'await this.#book.shelf.write([{ key }, ...note.slice(0, 0)])',
    shownBy: files(1),
  },
  {
    fault: 'a chunk is sent beyond the window',
    file: 'lib/core/window.ts',
    before: 'if (length === 0 || length > room) return undefined',
    after: 'if (length === 0 || length > room + 1) return undefined',
    shownBy: files(7),
  },
  {
    fault: 'one message more is delivered than the window has',
    file: 'lib/server/messages/inFlightWindow.ts',
    before: 'const messages = this.#most - this.#sent.length',
    after: 'const messages = this.#most + 1 - this.#sent.length',
    shownBy: messages(3),
  },
  {
    fault: 'a chunk of a link that has lost the upload is written',
    file: 'lib/server/files/upload.ts',
    before: 'if (!this.heldBy(by)) answer.reject(denied())\n    else if (length',
    after: 'if (length',
    shownBy: files(38),
  },
  {
    fault: 'somebody is let in with a wrong token',
    file: 'lib/server/connections/session.ts',
    before: 'const admitted = await this.#host.authenticator.authenticate({ user, token, peer })',
    after:
      'const admitted = await this.#host.authenticator.authenticate({ user, token, peer }).catch(() => ({ user }))',
    shownBy: files(2),
  },
  {
    fault: 'a link sends more files at once than it may',
    file: 'lib/server/files/uploadBounds.ts',
    before: 'if (count < this.#limits.uploadsPerLink) return',
    after: 'if (count >= 0) return',
    shownBy: files(17),
  },
  {
    fault: 'uploads are parked without a bound',
    file: 'lib/server/files/uploads.ts',
    before: ' && this.#parked.size <= this.#limits.parkedUploads',
    after: '',
    shownBy: files(391),
  },
  {
    fault: 'a record keeps every checkpoint',
    file: 'lib/server/files/transfer.ts',
    before: 'withCheckpoint(known, { offset, digest }, limits.checkpoints)',
    after: 'withCheckpoint(known, { offset, digest }, Number.MAX_SAFE_INTEGER)',
    shownBy: files(7),
  },
  {
    fault: 'a client that has closed leaves an alarm',
    file: 'lib/client/runningClient.ts',
    before: '    late.abort()\n',
    after: '',
    shownBy: files(1),
  },
  {
    fault: 'a task is accepted before it is kept',
    file: 'lib/client/uploads/taskRegistry.ts',
    before: '      await this.#write(this.#store.put(task))\n    } catch',
    after: '      void this.#write(this.#store.put(task))\n    } catch',
    shownBy: files(25),
  },
  {
    fault: 'a file is taken that is larger than any may be',
    file: 'lib/server/files/quota.ts',
    before: 'if (size <= fileBytes) return',
    after: 'if (size >= 0 || fileBytes > 0) return',
    shownBy: files(1),
  },
  {
    fault: 'who asks what makes no sense waits for nothing',
    file: 'lib/server/connections/session.ts',
    before: "if (why.code === 'malformed') await this.#peer.close(why)\n      else this.#peer.refuse(request, why)",
    after: "if (why.code !== 'malformed') this.#peer.refuse(request, why)",
    shownBy: files(65),
  },
  {
    fault: 'links stay whose token holds no more',
    file: 'lib/server/server.ts',
    before: 'for (const session of this.#sessions) session.rightChanged(user)',
    after: 'void user',
    shownBy: files(8),
  },
  {
    fault: 'a file that is renamed into its place is not durable there',
    file: 'lib/adapters/disk/publish.ts',
    before: '  await tree.flushes.flush(dirname(target))\n  return true',
    after: '  return true',
    shownBy: 'spec/adapters/disk/publish.spec.ts',
  },
  {
    fault: 'requests are repeated without jitter, all at once',
    file: 'lib/core/requests.ts',
    before: 'base * (1 + 0.25 * fraction())',
    after: 'base * (1 + 0 * fraction())',
    shownBy: 'spec/core/requests.spec.ts',
  },
]
