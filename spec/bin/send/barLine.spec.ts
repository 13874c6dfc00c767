import assert from 'node:assert/strict'
import fc from 'fast-check'
import { fit, type Styles, widthOf } from '../../../bin/common/text.ts'
import { barLine, progressLine } from '../../../bin/send/barLine.ts'
import { spec } from '../../support/spec.ts'

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
  it('is padded, or truncated at its end or start', () => {
    assert.equal(fit('a.txt', 8), 'a.txt   ')
    assert.equal(fit('waiting for a place', 10), 'waiting f…')
    assert.equal(fit('photos/2024/IMG_0001.jpg', 18, 'end'), '…2024/IMG_0001.jpg')
    assert.equal(fit('视频资料.mp4', 9, 'end'), '…资料.mp4')
    assert.equal(fit('视频资料.mp4', 8, 'end'), '…料.mp4 ')
  })

  it('has exactly the requested number of columns', () => {
    const texts = fc.string({ unit: fc.constantFrom('a', '电', '😀', 'é', '-', '한', '👩‍👩‍👧') })
    fc.assert(
      fc.property(texts, fc.integer({ min: 1, max: 40 }), fc.constantFrom('start', 'end'), (text, columns, keep) => {
        assert.equal(widthOf(fit(text, columns, keep)), columns)
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

  it('has no time left while a part of the size is unknown', () => {
    const known = { ...state, isSizeKnown: false }
    assert.match(barLine(known, 90, plain), /977 KiB\/s {10}$/u)
    assert.equal(progressLine(known, plain), 'osp: report.pdf: 65%, 6.20 of 9.54 MiB, 977 KiB/s')
  })

  it('distinguishes acknowledged bytes from durable bytes', () => {
    const line = barLine({ ...state, durable: 2_500_000 }, 90, plain)
    assert.match(line, /^report\.pdf +█{4}▒{7}░{7} +65%/u)
  })

  it('omits columns that do not fit', () => {
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

  it('keeps the end of a path, which distinguishes files of one folder', () => {
    const titles = ['a/long/way/to/photos/IMG_0001.jpg', 'a/long/way/to/photos/IMG_0002.jpg']
    const starts = titles.map((title) => barLine({ ...state, title }, 60, plain).split('  ')[0])
    assert.deepEqual(starts, ['…MG_0001.jpg', '…MG_0002.jpg'])
  })

  it('can be formatted as a sentence', () => {
    assert.equal(progressLine(state, plain), 'osp: report.pdf: 65%, 6.20 of 9.54 MiB, 977 KiB/s, 4 s left')
    assert.equal(progressLine({ ...state, note: 'paused' }, plain), 'osp: report.pdf: 65%, 6.20 of 9.54 MiB, paused')
  })

  it('of an empty file is at 0 %', () => {
    assert.match(barLine({ title: 'a', done: 0, durable: 0, size: 0 }, 90, plain), / 0% {2} +0 of 0 B/u)
  })
})
