import assert from 'node:assert/strict'
import { spec } from '../support/spec.ts'
import { mutatedText } from './mutation.ts'

const text = `
class Window {
  #most = 8

  take(length: number): boolean {
    if (length > this.#most)
      return false
    return true
  }

  room(): boolean {
    return true
  }
}
`

spec('a mutation', (it) => {
  it('replaces its pattern in its function, regardless of white space', () => {
    const mutated = mutatedText(text, {
      within: 'take',
      pattern: 'if (length > this.#most) return false',
      replacement: 'if (length < 0) return false',
    })
    assert.equal(mutated, text.replace(/if \(length > this\.#most\)\s+return/u, 'if (length < 0) return'))
  })

  it('replaces text that another function has too', () => {
    const mutated = mutatedText(text, { within: 'room', pattern: 'return true', replacement: 'return false' })
    assert.equal(mutated, text.replace('return true\n  }\n}', 'return false\n  }\n}'))
  })

  it('changes a property or a constant', () => {
    const mutated = mutatedText(text, { within: '#most', pattern: '8', replacement: '9' })
    assert.equal(mutated, text.replace('8', '9'))
  })

  it('has no place if its function or pattern is gone, or the pattern occurs twice', () => {
    for (const [within, pattern] of [
      ['give', 'return true'],
      ['take', 'return undefined'],
      ['take', 'return'],
    ] as const) {
      assert.equal(mutatedText(text, { within, pattern, replacement: '' }), undefined)
    }
  })
})
