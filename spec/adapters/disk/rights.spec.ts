import assert from 'node:assert/strict'
import { chmod, chown, lchown, mkdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { spec } from '../../support/spec.ts'
import { opened, withData } from './data.ts'

const directories = ['files', 'partial', 'lock', 'uploads', 'mailboxes', 'tls']
const files = ['format', 'daemon.json', 'users.json']

/** Runs `proof` with a closed data directory that has every part. */
const withParts = (proof: (data: string) => Promise<void>) =>
  withData(async (data) => {
    await (await opened(data))[Symbol.asyncDispose]()
    await mkdir(join(data, 'tls'), { mode: 0o700 })
    for (const file of ['daemon.json', 'users.json']) await writeFile(join(data, file), '{}', { mode: 0o600 })
    await proof(data)
  })

async function refused(data: string, message: RegExp): Promise<void> {
  await assert.rejects(opened(data), { code: 'data-format', message })
}

spec('a data directory that others can change', (it) => {
  if (process.platform === 'win32') return it.skip('is refused', 'Windows has access control lists instead')

  for (const path of ['.', ...directories, ...files]) {
    it(
      `is refused, with the command to run, if others can write to ${path}`,
      withParts(async (data) => {
        const part = join(data, path)
        const mode = (await stat(part)).mode & 0o777
        for (const more of [0o002, 0o022]) {
          await chmod(part, mode | more)
          await refused(data, new RegExp(`${part} can be written to by other users; run "chmod go-w ${part}"`))
        }
        await chmod(part, mode)
        await (await opened(data))[Symbol.asyncDispose]()
      }),
    )
  }

  it(
    'can be readable for others',
    withParts(async (data) => {
      for (const path of ['.', ...directories]) await chmod(join(data, path), 0o755)
      await (await opened(data))[Symbol.asyncDispose]()
    }),
  )

  it(
    'is refused before anything is written to it',
    withData(async (data) => {
      await mkdir(data)
      await chmod(data, 0o777)
      await refused(data, /chmod go-w/)
      await assert.rejects(stat(join(data, 'format')), { code: 'ENOENT' })
    }),
  )

  it(
    'has its path in quotes if a shell needs them',
    withData(async (path) => {
      const data = `${path} o'ne`
      await mkdir(data)
      await chmod(data, 0o777)
      await refused(data, / o'\\''ne'"/)
    }),
  )

  const fact = 'is refused if it or a part of it belongs to another user'
  if (process.geteuid?.() !== 0) it.skip(fact, 'only root can give files away')
  else {
    for (const path of ['.', ...directories, ...files]) {
      it(
        `${fact}: ${path}`,
        withParts(async (data) => {
          const part = join(data, path)
          await chown(part, 12_345, 12_345)
          await refused(data, new RegExp(`${part} belongs to another user \\(uid 12345\\).*chown -R 0 `))
          await chown(part, 0, 12_345)
          await (await opened(data))[Symbol.asyncDispose]()
        }),
      )
    }
  }
})

spec('a symbolic link', (it) => {
  for (const path of [...directories, ...files]) {
    it(
      `in the place of ${path} in a data directory is refused by its name, and not followed`,
      withParts(async (data) => {
        const [part, elsewhere] = [join(data, path), join(dirname(data), 'elsewhere')]
        await rename(part, elsewhere)
        await symlink(elsewhere, part)
        await refused(data, new RegExp(`${part} is a symbolic link`))
        await rename(elsewhere, `${elsewhere}2`)
        await refused(data, new RegExp(`${part} is a symbolic link`))
        await assert.rejects(stat(elsewhere), { code: 'ENOENT' })
      }),
    )
  }

  it(
    'can lead to a data directory',
    withParts(async (data) => {
      await symlink(data, `${data}-link`)
      await (await opened(`${data}-link`))[Symbol.asyncDispose]()
    }),
  )
})

spec('a part of a data directory', (it) => {
  it(
    'that is of another kind is refused by its name',
    withParts(async (data) => {
      await rename(join(data, 'tls'), join(data, 'aside'))
      await writeFile(join(data, 'tls'), '')
      await refused(data, /data\/tls is not a directory/)
      await rename(join(data, 'tls'), join(data, 'aside2'))
      await rename(join(data, 'users.json'), join(data, 'aside3'))
      await mkdir(join(data, 'users.json'))
      await refused(data, /data\/users\.json is not a regular file/)
    }),
  )
})

/** Runs `proof` with a directory of this user that others can enter, and the path of a data directory in it. */
const withUpper = (proof: (upper: string, data: string) => Promise<void>) =>
  withData(async (at) => {
    await mkdir(at, { mode: 0o755 })
    await proof(at, join(at, 'between', 'data'))
  })

spec('a directory above a data directory', (it) => {
  if (process.platform === 'win32') return it.skip('must be safe', 'Windows has access control lists instead')

  it(
    'is refused if others can write to it; the error names it and the remedy, and nothing is created in it',
    withUpper(async (upper, data) => {
      await chmod(upper, 0o777)
      await refused(data, new RegExp(`^${upper} can be written to by other users, .*run "chmod go-w ${upper}"`))
      await assert.rejects(stat(dirname(data)), { code: 'ENOENT' })
      await chmod(upper, 0o755)
      await (await opened(data))[Symbol.asyncDispose]()
      await chmod(upper, 0o777)
      await refused(data, new RegExp(`^${upper} can be written to`))
    }),
  )

  it(
    'that others can write to and that is sticky, as /tmp is, can contain one',
    withUpper(async (upper, data) => {
      await chmod(upper, 0o1777)
      await (await opened(data))[Symbol.asyncDispose]()
    }),
  )

  it(
    'that a link leads to is checked at the target and at the link',
    withUpper(async (upper, data) => {
      const [links, target] = [join(upper, 'links'), join(upper, 'target')]
      await mkdir(links)
      await mkdir(target)
      await symlink('../target', join(links, 'to'))
      const through = join(links, 'to', 'data')
      await (await opened(through))[Symbol.asyncDispose]()
      for (const open of [links, target]) {
        await chmod(open, 0o777)
        await refused(through, new RegExp(`^${open} can be written to`))
        await chmod(open, 0o755)
      }
      await symlink('loop', join(links, 'loop'))
      await assert.rejects(opened(join(links, 'loop')), { message: /links form a loop/ })
      assert.notEqual(data, through)
    }),
  )

  const fact = 'that belongs to another user is refused by its name, and so is a link of another user'
  if (process.geteuid?.() !== 0) it.skip(fact, 'only root can give files away')
  else {
    it(
      fact,
      withUpper(async (upper, data) => {
        await (await opened(data))[Symbol.asyncDispose]()
        await chown(upper, 12_345, 12_345)
        await refused(data, new RegExp(`^${upper} belongs to another user \\(uid 12345\\).*sudo -u '#12345'`))
        await chown(upper, 0, 0)
        await symlink(data, join(upper, 'link'))
        await lchown(join(upper, 'link'), 12_345, 12_345)
        await refused(join(upper, 'link'), /link belongs to another user/)
      }),
    )

    it(
      'with group write permission is refused if the group has other members, otherwise accepted',
      withUpper(async (upper, data) => {
        await chmod(upper, 0o775)
        await (await opened(data))[Symbol.asyncDispose]()
        // The group of an account that is not root, and one that is listed nowhere.
        for (const group of [1, 12_345]) {
          await chown(upper, 0, group)
          await refused(data, new RegExp(`^${upper} can be written to`))
          await refused(join(data, '..'), new RegExp(`^${upper} can be written to`))
        }
        await chown(data, 0, 1)
        await chown(upper, 0, 0)
        await chmod(data, 0o770)
        await refused(data, /can be written to by other users; run "chmod go-w/)
        await rm(data, { recursive: true })
      }),
    )
  }
})
