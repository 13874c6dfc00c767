import assert from 'node:assert/strict'
import { nodePlatform } from '../../../lib/adapters/node/nodePlatform.ts'
import type { DigestName } from '../../../lib/ports/platform.ts'
import { digestOfParts } from '../../../lib/runtime/incrementalDigest.ts'
import { spec } from '../../support/spec.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const toHex = (digest: Uint8Array) => Buffer.from(digest).toString('hex')

/** Of no bytes, and of `abc` (RFC 1321, FIPS 180-4, xxHash's own test values). */
const vectors: Record<DigestName, readonly [empty: string, abc: string]> = {
  md5: ['d41d8cd98f00b204e9800998ecf8427e', '900150983cd24fb0d6963f7d28e17f72'],
  sha256: [
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  ],
  xxh128: ['99aa06d3014798d86001c324468d497f', '06b05ab6733a618578af5f94892f3950'],
}

spec('the digests of Node', (it) => {
  for (const [name, [empty, abc]] of Object.entries(vectors) as [DigestName, readonly [string, string]][]) {
    it(`have the known values of ${name}`, async () => {
      const { digests } = nodePlatform()
      await digests.load(name)
      assert.equal(toHex(digests.create(name).digest()), empty)
      const digest = digests.create(name)
      digest.update(bytes('a'))
      digest.update(bytes(''))
      digest.update(bytes('bc'))
      assert.equal(toHex(digest.digest()), abc)
    })

    it(`return the ${name} of bytes in memory, in any number of parts`, async () => {
      const { digests } = nodePlatform()
      await digests.load(name)
      for (const parts of [[], ['']]) assert.equal(toHex(digestOfParts(digests, name, parts.map(bytes))), empty)
      for (const parts of [['abc'], ['a', 'bc'], ['', 'abc', '']]) {
        assert.equal(toHex(digestOfParts(digests, name, parts.map(bytes))), abc)
      }
    })

    it(`return the ${name} of the bytes so far, and can be continued`, async () => {
      const { digests } = nodePlatform()
      await digests.load(name)
      const long = new Uint8Array(100_000).fill(7)
      const running = digests.create(name)
      for (const length of [0, 1, 300, 100_000]) {
        running.update(long.subarray(0, length))
        const other = digests.create(name)
        other.update(bytes('x'))
        const [first, second] = [running.digest(), running.digest()]
        assert.equal(toHex(first), toHex(second))
        running.update(bytes('y'))
      }
      const whole = digests.create(name)
      for (const length of [0, 1, 300, 100_000]) {
        whole.update(long.subarray(0, length))
        whole.update(bytes('y'))
      }
      assert.equal(toHex(running.digest()), toHex(whole.digest()))
    })

    it(`are not mixed up when several ${name} digests alternate`, async () => {
      const { digests } = nodePlatform()
      await digests.load(name)
      const running = [1, 2, 3].map((fill) => ({ fill, digest: digests.create(name) }))
      for (const length of [1, 300, 20_000, 5]) {
        for (const { fill, digest } of running) digest.update(new Uint8Array(length).fill(fill))
      }
      for (const { fill, digest } of running) {
        const alone = digests.create(name)
        alone.update(new Uint8Array(20_306).fill(fill))
        assert.equal(toHex(digest.digest()), toHex(alone.digest()))
      }
    })

    it(`must be loaded before ${name} is created`, () => {
      assert.throws(() => nodePlatform().digests.create(name), /must be loaded/)
    })
  }

  it('may be loaded several times at once', async () => {
    const { digests } = nodePlatform()
    await Promise.all([digests.load('xxh128'), digests.load('xxh128')])
    const early = digests.create('xxh128')
    early.update(bytes('a'))
    await digests.load('xxh128')
    early.update(bytes('bc'))
    assert.equal(toHex(early.digest()), vectors.xxh128[1])
  })
})

spec('the CRC-32 of Node', (it) => {
  const { crc32 } = nodePlatform()

  it('has the check value of IEEE 802.3', () => {
    assert.equal(crc32(bytes('123456789')), 0xcbf43926)
  })

  it('continues an earlier CRC', () => {
    assert.equal(crc32(bytes('56789'), crc32(bytes('1234'))), 0xcbf43926)
    assert.equal(crc32(bytes('')), 0)
    for (const empty of [new Uint8Array(), new Uint8Array().subarray(), Buffer.from(new ArrayBuffer(0))]) {
      assert.equal(crc32(empty, 5), 5)
    }
  })
})

spec('the random numbers of Node', (it) => {
  const { random } = nodePlatform()

  it('have the requested number of bytes, different each time', () => {
    assert.equal(random.bytes(16, 'a session').length, 16)
    assert.notDeepEqual(random.bytes(16, 'a session'), random.bytes(16, 'a session'))
  })

  it('include fractions from 0 to below 1', () => {
    const fractions = Array.from({ length: 1_000 }, () => random.fraction('a wait'))
    assert.ok(fractions.every((fraction) => fraction >= 0 && fraction < 1))
    assert.ok(Math.max(...fractions) - Math.min(...fractions) > 0.5)
  })
})

spec('the alarm of Node', (it) => {
  const { clock } = nodePlatform()

  it('never rings before its time', async () => {
    const early = await Promise.all(
      Array.from({ length: 50 }, (_, index) => {
        const atMs = clock.now() + index / 7
        return new Promise<boolean>((resolve) => clock.alarm(atMs, () => resolve(clock.now() < atMs)))
      }),
    )
    assert.ok(!early.includes(true))
  })

  it('rings after the call, even for a time in the past', async () => {
    let returned = false
    const rang = new Promise<boolean>((resolve) => clock.alarm(clock.now() - 1_000, () => resolve(returned)))
    returned = true
    assert.equal(await rang, true)
  })

  it('does not ring after it is disposed', async () => {
    let rang = false
    const atMs = clock.now() + 2
    const alarm = clock.alarm(atMs, () => {
      rang = true
    })
    alarm[Symbol.dispose]()
    await new Promise<void>((resolve) => clock.alarm(atMs + 5, resolve))
    assert.equal(rang, false)
  })

  it('rings in order of time, and does not ring if an earlier alarm disposes it', async () => {
    const rang: number[] = []
    const begin = clock.now() + 5
    const times = Array.from({ length: 200 }, (_, index) => (index * 37) % 200)
    const alarms = new Map<number, Disposable>()
    for (const time of times) {
      const ring = () => {
        rang.push(time)
        if (time % 2 === 0) alarms.get(time + 1)?.[Symbol.dispose]()
      }
      alarms.set(time, clock.alarm(begin + time / 100, ring))
    }
    for (const time of times) if (time % 3 === 0) alarms.get(time)?.[Symbol.dispose]()
    await new Promise<void>((resolve) => clock.alarm(begin + 10, resolve))
    const expected = times.filter((time) => time % 3 !== 0 && (time % 2 === 0 || (time - 1) % 3 === 0))
    assert.deepEqual(
      rang,
      expected.sort((a, b) => a - b),
    )
  })

  it('does not stop other alarms if it throws, or if it sets an alarm for a time in the past', async () => {
    const thrown: unknown[] = []
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.once('uncaughtException', (error) => thrown.push(error))
    clock.alarm(clock.now() + 1, () => {
      throw new Error('a fault')
    })
    let count = 0
    const again = () => {
      if (++count < 10) clock.alarm(0, again)
    }
    clock.alarm(0, again)
    await new Promise<void>((resolve) => clock.alarm(clock.now() + 50, resolve))
    for (const other of others) process.on('uncaughtException', other)
    assert.match(`${thrown}`, /a fault/u)
    assert.equal(count, 10)
  })

  it('waits longer than the maximum delay of a timer', async () => {
    let rang = false
    const alarms = [2 ** 31 + 1_000, 2 ** 40, Number.POSITIVE_INFINITY].map((delayMs) =>
      clock.alarm(clock.now() + delayMs, () => {
        rang = true
      }),
    )
    await new Promise<void>((resolve) => clock.alarm(clock.now() + 10, resolve))
    for (const alarm of alarms) alarm[Symbol.dispose]()
    assert.equal(rang, false)
  })
})

spec('the clock of Node', (it) => {
  it('returns the wall time in milliseconds since 1970', () => {
    assert.ok(Math.abs(nodePlatform().clock.wallTime() - Date.now()) < 1_000)
  })
})
