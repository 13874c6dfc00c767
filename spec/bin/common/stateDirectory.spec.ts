import assert from 'node:assert/strict'
import { platformState, stateDirectoryOf } from '../../../bin/common/stateDirectory.ts'
import { spec } from '../../support/spec.ts'

spec('the state directory', (it) => {
  it('is in the default place of the operating system', () => {
    const of = (platform: NodeJS.Platform, env: Record<string, string>, home = '/home/a') =>
      platformState({ platform, env, home })
    assert.equal(of('linux', {}), '/home/a/.local/state/osp')
    assert.equal(of('linux', { XDG_STATE_HOME: '/state' }), '/state/osp')
    assert.equal(of('freebsd', { XDG_STATE_HOME: 'relative' }), '/home/a/.local/state/osp')
    assert.equal(of('darwin', { XDG_STATE_HOME: '/state' }), '/home/a/Library/Application Support/osp')
    assert.equal(of('win32', { LOCALAPPDATA: 'D:\\Local' }, 'C:\\a'), 'D:\\Local\\osp')
    assert.equal(of('win32', {}, 'C:\\Users\\a'), 'C:\\Users\\a\\AppData\\Local\\osp')
  })

  it('has a directory for each user on each server', () => {
    const at = (host: string, user: string, port = 6682) =>
      stateDirectoryOf({ state: '/s', server: { host, port } }, user)
    assert.equal(at('127.0.0.1', 'bob'), '/s/127.0.0.1_6682/bob')
    assert.equal(at('::1', 'bob', 1), '/s/%3a%3a1_1/bob')
    assert.equal(at('Example.org', 'bob'), at('example.org', 'bob'))
    assert.equal(at('fe80::1%eth0', 'bob', 1), '/s/fe80%3a%3a1%25eth0_1/bob')
    assert.equal(at('FE80::1%eth0', 'bob'), at('fe80::1%eth0', 'bob'))
    assert.notEqual(at('fe80::1%ETH0', 'bob'), at('fe80::1%eth0', 'bob'))
  })

  it('has different directories for different users, also on case-insensitive file systems', () => {
    const names = ['bob', 'Bob', 'BOB', '%42ob', 'b ob', 'b*ob', '丁', 'bö', '%', '_']
    const places = names.map((name) => stateDirectoryOf({ state: '', server: { host: 'h', port: 1 } }, name))
    assert.equal(new Set(places.map((path) => path.toLowerCase())).size, names.length)
    for (const path of places) assert.match(path, /^\/h_1\/[a-z0-9._%-]+$/u)
  })
})
