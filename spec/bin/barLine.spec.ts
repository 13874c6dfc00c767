import assert from 'node:assert/strict'
import fc from 'fast-check'
import type { Styles } from '../../bin/common/style.ts'
import { fit, widthOf } from '../../bin/common/width.ts'
import { barLine } from '../../bin/send/barLine.ts'
import { Speed } from '../../bin/send/speed.ts'
import { spec } from '../support/spec.ts'

const same = (text: string) => text
const plain: Styles = { bold: same, dim: same, red: same, green: same, yellow: same, cyan: same }

spec('the width of a text', (it) => {
  it('is two columns for each wide character', () => {
    const widths = { abc: 3, 电影: 4, アｱ: 3, 한글: 4, '（）': 4, é: 1, 'e\u0301': 1, '': 0, '\u200B': 0 }
    for (const [text, width] of Object.entries(widths)) assert.equal(widthOf(text), width, text)
  })

  it('is two columns for each emoji, however many characters it is made of', () => {
    for (const emoji of ['😀', '❤️', '👩‍👩‍👧', '🇨🇭', '👍🏽']) assert.equal(widthOf(emoji), 2, emoji)
  })
})

spec('a fitted text', (it) => {
  it('is filled up, or loses its middle', () => {
    assert.equal(fit('a.txt', 8), 'a.txt   ')
    assert.equal(fit('a-long-name.txt', 10), 'a-lon….txt')
    assert.equal(fit('视频资料.mp4', 9), '视频….mp4')
    assert.equal(fit('视频资料.mp4', 8), '视频…mp4')
  })

  it('takes as many columns as it was given', () => {
    const texts = fc.string({ unit: fc.constantFrom('a', '电', '😀', 'é', '-', '한', '👩‍👩‍👧') })
    fc.assert(
      fc.property(texts, fc.integer({ min: 1, max: 40 }), (text, columns) => {
        assert.equal(widthOf(fit(text, columns)), columns)
      }),
    )
  })
})

spec('a bar', (it) => {
  const state = {
    title: 'report.pdf',
    done: 6_500_000,
    durable: 6_500_000,
    size: 10_000_000,
    bytesPerSecond: 1_000_000,
  }

  it('has name, bar, percent, sizes, speed and time left', () => {
    assert.equal(
      barLine(state, 90, plain),
      'report.pdf               ███████████░░░░░░░   65%  6.20 of 9.54 MiB   977 KiB/s       4 s',
    )
  })

  it('tells what the server has from what is durable there', () => {
    const line = barLine({ ...state, durable: 2_500_000 }, 90, plain)
    assert.match(line, /^report\.pdf +█{4}▒{7}░{7} +65%/u)
  })

  it('leaves out what there is no room for', () => {
    assert.match(barLine(state, 60, plain), /^report\.pdf +█+░+ +65% +6\.20 of 9\.54 MiB +977 KiB\/s$/u)
    assert.match(barLine(state, 48, plain), /^report\.pdf +█+░+ +65% +977 KiB\/s$/u)
    assert.match(barLine(state, 30, plain), /^report\.pdf +█+░+ +65%$/u)
    assert.match(barLine(state, 20, plain), /^report\.pdf +65%$/u)
  })

  it('never fills the last column', () => {
    const titles = fc.string({ unit: fc.constantFrom('a', '电', '😀', '\u001B', '\n') })
    fc.assert(
      fc.property(titles, fc.integer({ min: 8, max: 200 }), fc.nat(), fc.nat(), (title, columns, done, size) => {
        const line = barLine(
          {
            title,
            done: Math.min(done, size),
            durable: Math.min(done >> 1, size),
            size,
            note: done % 2 ? 'verifying' : undefined,
          },
          columns,
          plain,
        )
        assert.ok(widthOf(line) < columns, line)
        assert.ok(!/\p{Cc}/u.test(line))
      }),
    )
  })

  it('of an empty file is at 0 %', () => {
    assert.match(barLine({ title: 'a', done: 0, durable: 0, size: 0 }, 90, plain), / 0% {2} +0 of 0 B/u)
  })
})

spec('the speed', (it) => {
  it('is unknown at first, then that of the last seconds', () => {
    const speed = new Speed()
    speed.note(0, 0)
    assert.equal(speed.bytesPerSecond, undefined)
    for (let second = 1; second <= 20; second++) speed.note(second * 1_000, second * 1_000)
    assert.equal(speed.bytesPerSecond, 1_000)
    for (let second = 21; second <= 30; second++) speed.note(20_000, second * 1_000)
    assert.equal(speed.bytesPerSecond, 0)
  })
})
