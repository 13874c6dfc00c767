import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { makePath } from '../../../lib/adapters/disk/directories.ts'
import { attempt, isFull, pathReason, systemErrors } from '../../../lib/adapters/disk/faults.ts'
import { type ErrorCode, errors, type OspError } from '../../../lib/errors.ts'
import { spec } from '../../support/spec.ts'

/** Returns an error as `node:fs` rejects with it. */
const systemError = (code: string) => Object.assign(new Error(`${code}: some text, write`), { code, errno: -1 })

const failed = (cause: unknown): Promise<OspError> =>
  attempt('writing /data/x', () => Promise.reject(cause)).then(
    () => assert.fail('it resolved'),
    (error: OspError) => error,
  )

const expected: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'disk-full',
  EDQUOT: 'quota-exceeded',
  EMLINK: 'disk-full',
  EFBIG: 'too-large',
  ENAMETOOLONG: 'bad-name',
  EILSEQ: 'bad-name',
  EROFS: 'storage-unusable',
  EACCES: 'storage-unusable',
  EPERM: 'storage-unusable',
  EXDEV: 'storage-unusable',
  ENOTDIR: 'storage-unusable',
  EISDIR: 'storage-unusable',
  ELOOP: 'storage-unusable',
  ENOTSUP: 'storage-unusable',
  EOPNOTSUPP: 'storage-unusable',
  ENOSYS: 'storage-unusable',
  EMFILE: 'overloaded',
  ENFILE: 'overloaded',
  ENOMEM: 'overloaded',
  EAGAIN: 'overloaded',
  EBUSY: 'internal',
  ETXTBSY: 'internal',
  EIO: 'internal',
  ENXIO: 'internal',
  ENODEV: 'internal',
  ESTALE: 'internal',
}

spec('an error of the operating system', (it) => {
  it('has the code of its row, names the operation and the errno, and reveals no path to a peer', async () => {
    assert.deepEqual(Object.keys(systemErrors).sort(), Object.keys(expected).sort())
    for (const [errno, code] of Object.entries(expected)) {
      const cause = systemError(errno)
      const error = await failed(cause)
      assert.equal(error.code, code, errno)
      assert.equal(error.cause, cause)
      assert.match(error.message, new RegExp(`^writing /data/x failed: .*\\(${errno}\\)$`, 'u'))
      assert.equal(error.publicText === undefined, code === 'internal', errno)
      assert.ok(!error.publicText?.includes('/'), errno)
    }
  })

  it('is recognized by its number if Node has no name for it', async () => {
    const errno = -constants.errno.EDQUOT
    const code = `Unknown system error ${errno}`
    const error = await failed(Object.assign(new Error(`${code}: ${code}, write`), { code, errno }))
    assert.equal(error.code, 'quota-exceeded')
    assert.match(error.message, /\(EDQUOT\)$/u)
    assert.ok(isFull(error))
  })

  it('counts instead of a later error of closing the file', async () => {
    const write = systemError('ENOSPC')
    const error = await attempt('writing /data/x', async () => {
      await using _ = { [Symbol.asyncDispose]: () => Promise.reject(systemError('EIO')) }
      throw write
    }).catch((error) => error)
    assert.deepEqual([error.code, error.cause], ['disk-full', write])
  })

  it('is permanent if a retry cannot help', () => {
    const final = Object.keys(expected).filter((errno) => errors[expected[errno] ?? 'internal'].retry === 'never')
    const passing = ['ENOSPC', 'EDQUOT', 'EMLINK', 'EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'EBUSY', 'ETXTBSY']
    const disk = ['EIO', 'ENXIO', 'ENODEV', 'ESTALE']
    assert.deepEqual([...final, ...passing, ...disk].sort(), Object.keys(expected).sort())
  })

  it('is internal if it has no row, with the text of the system', async () => {
    const { code, message } = await failed(systemError('EWHATEVER'))
    assert.deepEqual([code, message], ['internal', 'writing /data/x failed: EWHATEVER: some text, write'])
  })

  it('means a full disk also as the cause of another error, or in the words of LevelDB', async () => {
    const said = new Error('IO error: /data/records/000005.log: No space left on device')
    for (const error of [systemError('ENOSPC'), systemError('EDQUOT'), said, new Error('wrapped', { cause: said })]) {
      assert.ok(isFull(error))
      assert.ok(isFull(await failed(error)))
    }
    assert.equal((await failed(said)).code, 'disk-full')
    assert.ok(!isFull(systemError('EFBIG')))
  })
})

spec('a path that a user named', (it) => {
  it('cannot be used for a reason without the text of the system', () => {
    for (const [code, reason] of [
      ['ENOENT', 'it does not exist; check the path'],
      ['ENOTDIR', 'a part of the path is not a directory; check the path'],
      ['EISDIR', 'it is a directory; name a file'],
      ['EACCES', 'permission denied; change its permissions, or run as its owner'],
      ['EROFS', 'the file system is mounted read-only; mount it for writing'],
    ] as const) {
      assert.equal(pathReason(systemError(code)), reason)
    }
    assert.equal(pathReason(new Error('odd')), 'odd')
  })

  if (process.platform !== 'linux') it.skip('is refused on a file system without new directories', 'it needs /proc')
  else {
    it('is refused on a file system without new directories', () =>
      assert.rejects(makePath('/proc/ospd-none'), {
        code: 'storage-unusable',
        message:
          'cannot create the directory /proc/ospd-none: its file system does not allow new directories; choose another one',
      }))
  }
})
