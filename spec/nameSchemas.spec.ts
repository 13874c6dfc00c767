import assert from 'node:assert/strict'
import { storedFileName, userName } from '../lib/nameSchemas.ts'
import { spec } from './support/spec.ts'

spec('the name of a user in a record', (it) => {
  it('is a string', () => assert.equal(userName.safeParse(7).success, false))

  it('is refused with the error of the name', () => {
    assert.equal(userName.safeParse('').error?.issues[0]?.message, 'it is empty')
    assert.equal(userName.safeParse('alice').success, true)
  })
})

spec('the name of a stored file in a record', (it) => {
  it('has any number of parts', () => {
    assert.equal(storedFileName.safeParse(`${'a/'.repeat(40)}a`).success, true)
    assert.equal(storedFileName.safeParse('../a').success, false)
  })
})
