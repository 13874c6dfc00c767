import type { WireMessage } from '../../lib/wire/message.ts'
import { hex } from '../support/bytes.ts'

/** Frames about several files in one request, in the form of golden.ts. */
export const putFilesVectors: readonly (readonly [WireMessage, frame: string])[] = [
  [
    {
      event: 'PutFilesReq',
      files: [
        {
          fileName: 'fotos/ä.jpg',
          size: 5,
          modifiedAt: 1_700_000_000_123,
          digest: 1,
          fileDigest: hex('5d41402abc4b2a76b9719d911017c592'),
        },
        { fileName: 'a', size: 0, modifiedAt: 0, digest: 1, fileDigest: hex('d41d8cd98f00b204e9800998ecf8427e') },
      ],
      content: [hex('68656c6c6f')],
    },
    '00000062 01 00 0049 00000005 0001 0000 1f3a6ff3  0002 000c 666f746f732fc3a42e6a7067 0000000000000005 0000018bcfe5687b 01 00000010 5d41402abc4b2a76b9719d911017c592 0001 61 0000000000000000 0000000000000000 01 00000010 d41d8cd98f00b204e9800998ecf8427e 68656c6c6f',
  ],
  [
    {
      event: 'PutFilesAck',
      stored: [{ storedName: 'fotos/ä (1).jpg', replaced: 0 }],
      refused: [{ file: 1, code: 13, retryAfter: 0, text: 'digests differ' }],
    },
    '0000002f 01 00 004a 00000005 0001 0000 89e4c6b7  0001 0010 666f746f732fc3a4202831292e6a7067 00 0001 0001 000d 00000000 000e 6469676573747320646966666572',
  ],
  [
    { event: 'PutFilesNack', code: 15, retryAfter: 0, text: 'quota' },
    '0000000d 01 00 004b 00000005 0001 0000 beffe61e  000f 00000000 0005 71756f7461',
  ],
]
