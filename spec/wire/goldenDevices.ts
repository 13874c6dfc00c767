import type { WireMessage } from '../../lib/wire/message.ts'

/** Frames about the devices of a user, in the form of golden.ts. */
export const deviceVectors: readonly (readonly [WireMessage, frame: string])[] = [
  [{ event: 'ListDevicesReq' }, '00000000 01 00 003c 00000003 0002 0000 fb3f9a42'],
  [
    {
      event: 'ListDevicesAck',
      devices: [
        { device: '', seenAt: 1_700_000_000_123, listening: 1, waiting: 0 },
        { device: 'phone', seenAt: 0, listening: 0, waiting: 65_536 },
      ],
    },
    '00000025 01 00 003d 00000003 0002 0000 4a979285  0002 0000 0000018bcfe5687b 01 00000000 0005 70686f6e65 0000000000000000 00 00010000',
  ],
  [{ event: 'ListDevicesAck', devices: [] }, '00000002 01 00 003d 00000004 0002 0000 3fe3eec2  0000'],
  [
    { event: 'ListDevicesNack', code: 4, retryAfter: 0, text: 'later' },
    '0000000d 01 00 003e 00000005 0002 0000 c61547c3  0004 00000000 0005 6c61746572',
  ],
  [{ event: 'RemoveDeviceReq', device: 'phone' }, '00000007 01 00 0046 00000006 0002 0000 0081193f  0005 70686f6e65'],
  [{ event: 'RemoveDeviceAck', removed: 1 }, '00000001 01 00 0047 00000006 0002 0000 fe47ce97  01'],
  [
    { event: 'RemoveDeviceNack', code: 40, retryAfter: 0, text: 'busy' },
    '0000000c 01 00 0048 00000007 0002 0000 a8e5fc13  0028 00000000 0004 62757379',
  ],
]
