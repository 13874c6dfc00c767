import assert from 'node:assert/strict'
import type { OspError } from '../../lib/errors.ts'
import { defaultLimits, type Limits, limitsWith } from '../../lib/limits.ts'
import { ServerRig } from '../support/serverRig.ts'
import { spec } from '../support/spec.ts'

spec('a limit', (it) => {
  it('that does not fit its field on the wire, or is invalid, is refused by its name', () => {
    const wrong: Partial<Limits>[] = [
      { uploadsPerLink: 100_000 },
      { fileInstances: 70_000 },
      { windowBytes: 8 * 1024 ** 3 },
      { chunkBytes: 8 * 1024 ** 3 },
      { clients: 20_001 },
      { keepAliveMs: 1 },
      { links: 0 },
      { parkedMs: 1.5 },
    ]
    for (const limits of wrong) {
      const [name = ''] = Object.keys(limits)
      assert.throws(() => limitsWith(limits), { code: 'usage', message: new RegExp(`limits\\.${name} `) }, name)
    }
  })

  it('that is invalid is named with its value and its range; an unknown one is named with all valid ones', () => {
    const messageOf = (limits: unknown) => {
      try {
        limitsWith(limits as Partial<Limits>)
      } catch (error) {
        assert.equal((error as OspError).code, 'usage')
        return (error as OspError).message
      }
      return undefined
    }
    const clients = 'limits.clients cannot be 20001: it must be a whole number from 1 to 20000'
    assert.equal(messageOf({ clients: 20_001 }), clients)
    assert.equal(
      messageOf({ links: 'x' }),
      'limits.links cannot be "x": it must be a whole number from 1 to 9007199254740991',
    )
    const object = { links: { toString: 1 } }
    assert.equal(
      messageOf(object),
      'limits.links cannot be an object: it must be a whole number from 1 to 9007199254740991',
    )
    assert.equal(messageOf({ nonsense: 1, clients: 20_001 }), `${clients}; limits.nonsense is unknown`)
    assert.equal(messageOf(7), 'limits must be an object of numbers')
  })

  it('that is undefined is the default', () => {
    assert.deepEqual(limitsWith({ chunkBytes: undefined } as never), defaultLimits)
  })

  it('at its maximum admits a client', async () => {
    await using rig = await ServerRig.start({
      uploadsPerLink: 0xffff,
      fileInstances: 0xffff,
      windowBytes: 0xffff_ffff,
      recipients: 0xffff,
      messageIdMs: 0xffff_ffff * 1_000,
      retryAfterMs: 0xffff_ffff,
    })
    const client = await rig.client()
    assert.equal((await client.start({ name: 'a', bytes: new Uint8Array(1) })).window, 0xffff_ffff)
  })
})
