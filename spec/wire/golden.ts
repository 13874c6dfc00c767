import type { WireMessage } from '../../lib/wire/message.ts'
import { hex } from '../support/bytes.ts'
import { deviceVectors } from './goldenDevices.ts'
import { digestVectors } from './goldenDigests.ts'
import { putFilesVectors } from './goldenPutFiles.ts'
import { receiptVectors } from './goldenReceipts.ts'

const id = hex('000102030405060708090a0b0c0d0e0f')

/**
 * At least one whole frame of every event, with its meaning: the header's fields, two spaces, the payload's fields,
 * in hexadecimal. They were made from docs/protocol.md, not by the code that is checked with them.
 */
export const vectors: readonly (readonly [WireMessage, frame: string])[] = [
  [
    {
      event: 'StartPostFileReq',
      fileName: 'fotos/ä.jpg',
      size: 4_294_967_297,
      modifiedAt: 1_700_000_000_123,
      digest: 2,
    },
    '0000001f 01 00 0001 00000001 0001 0000 f6fa80c3  000c 666f746f732fc3a42e6a7067 0000000100000001 0000018bcfe5687b 02',
  ],
  [
    {
      event: 'StartPostFileReq',
      fileName: 'a',
      size: 5,
      modifiedAt: 0,
      digest: 2,
      metadata: [{ key: 'contentType', value: 'image/jpeg' }],
    },
    '0000002f 01 00 0001 00000001 0001 0000 6125a688  0001 61 0000000000000005 0000000000000000 02 0001 000b 636f6e74656e7454797065 000a 696d6167652f6a706567',
  ],
  [
    {
      event: 'ContinuePostFileReq',
      fileName: 'a',
      size: 5,
      modifiedAt: 0,
      digest: 2,
      progress: 0,
      metadata: [{ key: 'contentType', value: 'image/jpeg' }],
    },
    '00000037 01 00 000b 00000005 0001 0000 a2d570af  0001 61 0000000000000005 0000000000000000 02 0000000000000000 0001 000b 636f6e74656e7454797065 000a 696d6167652f6a706567',
  ],
  [
    { event: 'StartPostFileAck', instance: 199, progress: 0, chunk: 1_048_576, window: 8_388_608 },
    '00000012 01 00 0002 00000001 0001 0000 16a2d941  00c7 0000000000000000 00100000 00800000',
  ],
  [
    { event: 'StartPostFileNack', code: 7, retryAfter: 1000, text: 'no idle instance' },
    '00000018 01 00 0003 00000001 0001 0000 0a275df3  0007 000003e8 0010 6e6f2069646c6520696e7374616e6365',
  ],
  [
    { event: 'PostFileReq', progress: 4_294_967_296, content: [hex('68656c6c6f')] },
    '0000000d 01 00 0004 00000002 0001 00c7 7995a9b9  0000000100000000 68656c6c6f',
  ],
  [
    { event: 'PostFileReq', progress: 5, content: [] },
    '00000008 01 01 0004 00000002 0001 00c7 4aa0af02  0000000000000005',
  ],
  [
    { event: 'PostFileAck', progress: 4_294_967_301, durable: 4_294_967_296 },
    '00000010 01 00 0005 00000002 0001 00c7 9e5e1948  0000000100000005 0000000100000000',
  ],
  [
    { event: 'FileMd5Req', digest: hex('d41d8cd98f00b204e9800998ecf8427e') },
    '00000014 01 00 0006 00000003 0001 00c7 24bce811  00000010 d41d8cd98f00b204e9800998ecf8427e',
  ],
  [
    { event: 'FileMd5Ack', storedName: 'fotos/ä (1).jpg', replaced: 0 },
    '00000013 01 00 0007 00000003 0001 00c7 1b0ad562  0010 666f746f732fc3a4202831292e6a7067 00',
  ],
  [
    { event: 'FileMd5Ack', storedName: 'a', replaced: 1 },
    '00000004 01 00 0007 00000003 0001 00c7 612a2876  0001 61 01',
  ],
  [{ event: 'FileMd5Ack', storedName: 'a' }, '00000003 01 00 0007 00000003 0001 00c7 b3442d8c  0001 61'],
  [
    { event: 'FileMd5Nack', code: 13, retryAfter: 0, text: 'digests differ', progress: 0 },
    '0000001e 01 00 0008 00000003 0001 00c7 62656736  000d 00000000 000e 6469676573747320646966666572 0000000000000000',
  ],
  [{ event: 'PauseFileReq' }, '00000000 01 00 0009 00000004 0001 00c7 2aff2a85'],
  [
    { event: 'PauseFileAck', progress: 65_536, durable: 65_536 },
    '00000010 01 00 000a 00000004 0001 00c7 e015731c  0000000000010000 0000000000010000',
  ],
  [
    {
      event: 'ContinuePostFileReq',
      fileName: 'a',
      size: 9_007_199_254_740_991,
      modifiedAt: 0,
      digest: 3,
      progress: 9_007_199_254_740_991,
    },
    '0000001c 01 00 000b 00000005 0001 0000 93ced7fa  0001 61 001fffffffffffff 0000000000000000 03 001fffffffffffff',
  ],
  [
    {
      event: 'ContinuePostFileAck',
      instance: 1,
      progress: 70_000,
      chunk: 4096,
      window: 65_536,
      checkpoint: 65_536,
      checkpointDigest: hex('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'),
    },
    '0000003e 01 00 000c 00000005 0001 0000 90abed6e  0001 0000000000011170 00001000 00010000 0000000000010000 00000020 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  ],
  [
    {
      event: 'ContinuePostFileAck',
      instance: 1,
      progress: 0,
      chunk: 4096,
      window: 65_536,
      checkpoint: 0,
      checkpointDigest: hex(''),
    },
    '0000001e 01 00 000c 00000006 0001 0000 e2beb049  0001 0000000000000000 00001000 00010000 0000000000000000 00000000',
  ],
  [
    { event: 'ContinuePostFileNack', code: 10, retryAfter: 0, text: 'taken over' },
    '00000012 01 00 000d 00000006 0001 0000 674e51e6  000a 00000000 000a 74616b656e206f766572',
  ],
  [{ event: 'CancelFileReq', fileName: 'a' }, '00000003 01 00 000e 00000007 0001 0000 413dcf58  0001 61'],
  [{ event: 'CancelFileAck', outcome: 1 }, '00000001 01 00 000f 00000007 0001 0000 aac3f588  01'],
  [
    { event: 'CancelFileNack', code: 17, retryAfter: 0, text: 'bad name' },
    '00000010 01 00 0010 00000007 0001 0000 ace8c1a1  0011 00000000 0008 626164206e616d65',
  ],
  [
    { event: 'RegistReq', userName: 'älice', flags: 1 },
    '00000009 01 00 0011 ffffffff 0002 0000 45439254  0006 c3a46c696365 01',
  ],
  [
    { event: 'RegistReq', userName: 'älice', flags: 1, device: 'phone' },
    '00000010 01 00 0011 00000003 0002 0000 1752f8c8  0006 c3a46c696365 01 0005 70686f6e65',
  ],
  [
    { event: 'RegistAck', instance: 65_535, listVersion: 4_294_967_295, deliveryWindow: 16 },
    '00000008 01 00 0012 ffffffff 0002 0000 8ce6fe2f  ffff ffffffff 0010',
  ],
  [
    { event: 'RegistNack', code: 22, retryAfter: 60_000, text: 'full' },
    '0000000c 01 00 0013 00000002 0002 0000 71fdac63  0016 0000ea60 0004 66756c6c',
  ],
  [
    {
      event: 'RegistListNtf',
      listVersion: 9,
      kind: 1,
      members: [
        { change: 1, node: 5, userName: 'bob' },
        { change: 0, node: 4, userName: 'carol' },
      ],
    },
    '0000001d 01 00 0014 00000000 0002 0000 ac47f94c  00000009 01 0002 01 00000005 0003 626f62 00 00000004 0005 6361726f6c',
  ],
  [
    {
      event: 'PostMsgReq',
      messages: [
        {
          messageId: hex('000102030405060708090a0b0c0d0e0f'),
          recipients: ['bob', 'carol'],
          body: hex('006869'),
        },
        { messageId: hex('101112131415161718191a1b1c1d1e1f'), recipients: ['dave'], body: hex('00') },
      ],
    },
    '00000044 01 00 0015 00000003 0002 000c eda43a7e  0002 000102030405060708090a0b0c0d0e0f 0002 0003 626f62 0005 6361726f6c 00000003 006869 101112131415161718191a1b1c1d1e1f 0001 0004 64617665 00000001 00',
  ],
  [
    {
      event: 'PostMsgAck',
      statuses: [[0, 1], [], [2]],
      refused: [{ message: 1, code: 26, retryAfter: 0, text: 'no such user', recipients: ['carol'] }],
    },
    '0000002c 01 00 0016 00000003 0002 000c 21cf1be5  0003 0002 00 01 0000 0001 02 0001 0001 001a 00000000 000c 6e6f20737563682075736572 0001 0005 6361726f6c',
  ],
  [
    { event: 'PostMsgNack', code: 23, retryAfter: 0, text: 'register' },
    '00000010 01 00 0017 00000003 0002 000c cce2bf00  0017 00000000 0008 7265676973746572',
  ],
  [
    {
      event: 'DeliverMsgReq',
      attempt: 1,
      messages: [
        {
          messageId: hex('000102030405060708090a0b0c0d0e0f'),
          mailboxSeq: 17,
          sender: 'alice',
          sentAt: 1_700_000_000_123,
          body: hex('006869'),
        },
        {
          messageId: hex('101112131415161718191a1b1c1d1e1f'),
          mailboxSeq: 19,
          sender: 'bob',
          sentAt: 1_700_000_000_123,
          body: hex('00'),
        },
      ],
    },
    '0000005b 01 00 0018 00000001 0002 0000 3bff9bd5  01 0002 000102030405060708090a0b0c0d0e0f 0000000000000011 0005 616c696365 0000018bcfe5687b 00000003 006869 101112131415161718191a1b1c1d1e1f 0000000000000013 0003 626f62 0000018bcfe5687b 00000001 00',
  ],
  [
    { event: 'DeliverMsgAck', mailboxSeq: 19, rejected: [] },
    '0000000a 01 00 0019 00000001 0002 0000 5f2d9f60  0000000000000013 0000',
  ],
  [
    { event: 'DeliverMsgAck', mailboxSeq: 19, rejected: [{ mailboxSeq: 17, text: 'given up' }] },
    '0000001c 01 00 0019 00000001 0002 0000 c2ea9caa  0000000000000013 0001 0000000000000011 0008 676976656e207570',
  ],
  [{ event: 'ListReq' }, '00000000 01 00 001a 00000004 0002 0000 b8f4bd7b'],
  [
    { event: 'ListAck', listVersion: 9, kind: 0, members: [{ change: 1, node: 5, userName: 'bob' }] },
    '00000011 01 00 001b 00000004 0002 0000 065c5fa2  00000009 00 0001 01 00000005 0003 626f62',
  ],
  [
    { event: 'PostFileNack', code: 14, retryAfter: 5000, text: 'disk full', progress: 1_234_567 },
    '00000019 01 00 001c 00000008 0001 0003 bf6ad13f  000e 00001388 0009 6469736b2066756c6c 000000000012d687',
  ],
  [
    {
      event: 'PutFileReq',
      fileName: 'fotos/ä.jpg',
      size: 5,
      modifiedAt: 1_700_000_000_123,
      digest: 1,
      fileDigest: hex('5d41402abc4b2a76b9719d911017c592'),
      content: [hex('68656c6c6f')],
    },
    '00000038 01 00 001f 00000005 0001 0000 aa96dc24  000c 666f746f732fc3a42e6a7067 0000000000000005 0000018bcfe5687b 01 00000010 5d41402abc4b2a76b9719d911017c592 68656c6c6f',
  ],
  [
    {
      event: 'PutFileReq',
      fileName: 'a',
      size: 0,
      modifiedAt: 0,
      digest: 1,
      fileDigest: hex('d41d8cd98f00b204e9800998ecf8427e'),
      content: [],
    },
    '00000028 01 00 001f 00000006 0001 0000 407707d3  0001 61 0000000000000000 0000000000000000 01 00000010 d41d8cd98f00b204e9800998ecf8427e',
  ],
  [
    { event: 'PutFileAck', storedName: 'fotos/ä (1).jpg', replaced: 0 },
    '00000013 01 00 0020 00000005 0001 0000 26cc9168  0010 666f746f732fc3a4202831292e6a7067 00',
  ],
  [
    { event: 'PutFileNack', code: 13, retryAfter: 0, text: 'digests differ' },
    '00000016 01 00 0021 00000005 0001 0000 1605d23a  000d 00000000 000e 6469676573747320646966666572',
  ],
  [
    { event: 'ListFilesReq', prefix: 'fotos/', after: 'fotos/a', most: 100 },
    '00000013 01 00 0022 00000005 0001 0000 2f7040a9  0006 666f746f732f 0007 666f746f732f61 0064',
  ],
  [
    {
      event: 'ListFilesAck',
      files: [
        {
          fileName: 'fotos/ä.jpg',
          size: 4_294_967_297,
          modifiedAt: 1_700_000_000_123,
          storedAt: 1_700_000_001_000,
          version: '5:17',
          digest: 1,
          fileDigest: hex('5d41402abc4b2a76b9719d911017c592'),
          metadata: [{ key: 'contentType', value: 'image/jpeg' }],
        },
        {
          fileName: 'a',
          size: 0,
          modifiedAt: 0,
          storedAt: 0,
          version: '0',
          digest: 0,
          fileDigest: hex(''),
          metadata: [],
        },
      ],
      more: 1,
    },
    '00000084 01 00 0023 00000005 0001 0000 8be3fc22  0002 000c 666f746f732fc3a42e6a7067 0000000100000001 0000018bcfe5687b 0000018bcfe56be8 0004 353a3137 01 00000010 5d41402abc4b2a76b9719d911017c592 0001 000b 636f6e74656e7454797065 000a 696d6167652f6a706567 0001 61 0000000000000000 0000000000000000 0000000000000000 0001 30 00 00000000 0000 01',
  ],
  [
    { event: 'ListFilesNack', code: 4, retryAfter: 0, text: 'later' },
    '0000000d 01 00 0024 00000005 0001 0000 d13956f0  0004 00000000 0005 6c61746572',
  ],
  [{ event: 'StatFileReq', fileName: 'a', flags: 1 }, '00000004 01 00 0025 00000006 0001 0000 a3aaa74c  0001 61 01'],
  [
    {
      event: 'StatFileAck',
      fileName: 'fotos/ä.jpg',
      size: 4_294_967_297,
      modifiedAt: 1_700_000_000_123,
      storedAt: 1_700_000_001_000,
      version: '5:17',
      digest: 1,
      fileDigest: hex('5d41402abc4b2a76b9719d911017c592'),
      metadata: [{ key: 'contentType', value: 'image/jpeg' }],
    },
    '0000005c 01 00 0026 00000006 0001 0000 051a300c  000c 666f746f732fc3a42e6a7067 0000000100000001 0000018bcfe5687b 0000018bcfe56be8 0004 353a3137 01 00000010 5d41402abc4b2a76b9719d911017c592 0001 000b 636f6e74656e7454797065 000a 696d6167652f6a706567',
  ],
  [
    { event: 'StatFileNack', code: 34, retryAfter: 0, text: 'no such file' },
    '00000014 01 00 0027 00000006 0001 0000 d7a60e00  0022 00000000 000c 6e6f20737563682066696c65',
  ],
  [
    { event: 'RemoveFileReq', fileName: 'a', version: '0' },
    '00000006 01 00 0028 00000007 0001 0000 229347f0  0001 61 0001 30',
  ],
  [{ event: 'RemoveFileAck', removed: 1 }, '00000001 01 00 0029 00000007 0001 0000 e880861f  01'],
  [
    { event: 'RemoveFileNack', code: 35, retryAfter: 0, text: 'replaced' },
    '00000010 01 00 002a 00000007 0001 0000 f51493e2  0023 00000000 0008 7265706c61636564',
  ],
  [
    { event: 'RenameFileReq', fileName: 'a', newName: 'b', version: '', flags: 1 },
    '00000009 01 00 002b 00000008 0001 0000 ea3037b7  0001 61 0001 62 0000 01',
  ],
  [{ event: 'RenameFileAck', replaced: 1 }, '00000001 01 00 002c 00000008 0001 0000 ffffff8e  01'],
  [
    { event: 'RenameFileNack', code: 19, retryAfter: 0, text: 'b exists' },
    '00000010 01 00 002d 00000008 0001 0000 1e9da562  0013 00000000 0008 6220657869737473',
  ],
  [
    { event: 'ReadFileReq', fileName: 'a', version: '5:17', offset: 4_294_967_296, length: 1_048_576 },
    '00000015 01 00 002e 00000009 0001 0000 2f859aba  0001 61 0004 353a3137 0000000100000000 00100000',
  ],
  [
    { event: 'ReadFileAck', offset: 4_294_967_296, content: [hex('68656c6c6f')] },
    '0000000d 01 00 002f 00000009 0001 0000 2be17187  0000000100000000 68656c6c6f',
  ],
  [
    { event: 'ReadFileAck', offset: 5, content: [] },
    '00000008 01 00 002f 0000000a 0001 0000 80ceb456  0000000000000005',
  ],
  [
    { event: 'ReadFileNack', code: 35, retryAfter: 0, text: 'replaced' },
    '00000010 01 00 0030 00000009 0001 0000 c2a10dd6  0023 00000000 0008 7265706c61636564',
  ],
  [
    { event: 'PauseFileNack', code: 11, retryAfter: 0, text: '' },
    '00000008 01 00 001d 00000008 0001 0003 46bca6ed  000b 00000000 0000',
  ],
  [{ event: 'DeliverMsgNtf', mailboxSeq: 17 }, '00000008 01 00 001e 00000000 0002 0000 87fd00c8  0000000000000011'],
  [
    {
      event: 'HelloReq',
      versions: [1],
      userName: 'alice',
      token: 'secret',
      session: hex('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'),
      software: 'ospd/0.1.0',
      features: 1,
      attempt: 7,
    },
    '00000036 01 00 0040 00000001 0000 0000 c9264066  0001 01 0005 616c696365 0006 736563726574 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff 000a 6f7370642f302e312e30 00000001 00000007',
  ],
  [
    {
      event: 'HelloReq',
      versions: [1],
      userName: 'alice',
      token: 'secret',
      session: hex('f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'),
      software: 'ospd/0.1.0',
      features: 1,
    },
    '00000032 01 00 0040 00000001 0000 0000 8c19621c  0001 01 0005 616c696365 0006 736563726574 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff 000a 6f7370642f302e312e30 00000001',
  ],
  [
    {
      event: 'HelloAck',
      version: 1,
      node: 5,
      bootId: hex('a0a1a2a3a4a5a6a7a8a9aaabacadaeaf'),
      maxFrame: 1_048_640,
      keepAlive: 15_000,
      maxUploads: 5,
      maxRecipients: 16,
      features: 0,
      messageIdFor: 604_800,
    },
    '00000029 01 00 0041 00000001 0000 0000 aafcc5f5  01 00000005 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 00100040 00003a98 0005 0010 00000000 00093a80',
  ],
  [
    {
      event: 'HelloAck',
      version: 1,
      node: 5,
      bootId: hex('a0a1a2a3a4a5a6a7a8a9aaabacadaeaf'),
      maxFrame: 1_048_640,
      keepAlive: 15_000,
      maxUploads: 5,
      maxRecipients: 16,
      features: 0,
      messageIdFor: 604_800,
      maxPut: 262_144,
    },
    '0000002d 01 00 0041 00000001 0000 0000 7ef619b4  01 00000005 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf 00100040 00003a98 0005 0010 00000000 00093a80 00040000',
  ],
  [
    { event: 'HelloNack', code: 3, retryAfter: 0, text: 'not let in' },
    '00000012 01 00 0042 00000001 0000 0000 9ccfa115  0003 00000000 000a 6e6f74206c657420696e',
  ],
  [{ event: 'PingReq' }, '00000000 01 00 0043 00000009 0000 0000 9d115a89'],
  [{ event: 'PingAck', listVersion: 9 }, '00000004 01 00 0044 00000009 0000 0000 7afed811  00000009'],
  [{ event: 'PingAck' }, '00000000 01 00 0044 00000009 0000 0000 f9703740'],
  [
    { event: 'GoodbyeNtf', code: 5, retryAfter: 2000, text: 'shutting down' },
    '00000015 01 00 0045 00000000 0000 0000 752413fb  0005 000007d0 000d 7368757474696e6720646f776e',
  ],
  [
    {
      event: 'StartPostFileReq',
      fileName: 'a',
      size: 5,
      modifiedAt: 0,
      digest: 2,
      metadata: [],
      recipients: ['bob'],
    },
    '0000001d 01 00 0001 00000003 0001 0000 f5cd9e26  0001 61 0000000000000005 0000000000000000 02 0000 0001 0003 626f62',
  ],
  [
    {
      event: 'FileMd5Req',
      digest: hex('abcd'),
      notice: { messageId: hex('000102030405060708090a0b0c0d0e0f'), recipients: ['bob', 'carol'] },
    },
    '00000024 01 00 0006 00000003 0001 00c7 b90859b0  00000002 abcd 000102030405060708090a0b0c0d0e0f 0002 0003 626f62 0005 6361726f6c',
  ],
  [
    {
      event: 'ReadFileReq',
      fileName: 'plan',
      version: 'v1',
      offset: 0,
      length: 4096,
      grant: { owner: 'alice', readers: ['bob'], until: 5, proof: hex('0102') },
    },
    '00000032 01 00 002e 00000003 0001 0000 23840e6b  0004 706c616e 0002 7631 0000000000000000 00001000 0005 616c696365 0001 0003 626f62 0000000000000005 00000002 0102',
  ],
  [
    { event: 'ListMsgReq', flags: 1, afterSeq: 4_294_967_296, most: 100 },
    '0000000b 01 00 0032 00000003 0002 0000 de6ea139  01 0000000100000000 0064',
  ],
  [
    {
      event: 'ListMsgAck',
      messages: [{ messageId: id, mailboxSeq: 17, sender: 'alice', sentAt: 1_700_000_000_123, body: hex('006869') }],
    },
    '00000030 01 00 0033 00000003 0002 0000 ad7bfd5c  0001 000102030405060708090a0b0c0d0e0f 0000000000000011 0005 616c696365 0000018bcfe5687b 00000003 006869',
  ],
  [{ event: 'ListMsgAck', messages: [] }, '00000002 01 00 0033 00000004 0002 0000 6d95c5c4  0000'],
  [
    { event: 'ListMsgNack', code: 4, retryAfter: 0, text: 'later' },
    '0000000d 01 00 0034 00000004 0002 0000 be541ea2  0004 00000000 0005 6c61746572',
  ],
  [
    { event: 'ReturnMsgReq', mailboxSeqs: [17, 4_294_967_296] },
    '00000012 01 00 0035 00000005 0002 0000 4efcfb14  0002 0000000000000011 0000000100000000',
  ],
  [{ event: 'ReturnMsgAck' }, '00000000 01 00 0036 00000005 0002 0000 e151e57c'],
  [
    { event: 'ReturnMsgNack', code: 4, retryAfter: 0, text: 'later' },
    '0000000d 01 00 0037 00000006 0002 0000 82f8d861  0004 00000000 0005 6c61746572',
  ],
  [
    { event: 'RemoveMsgReq', mailboxSeqs: [17] },
    '0000000a 01 00 0038 00000007 0002 0000 ef1a9446  0001 0000000000000011',
  ],
  [{ event: 'RemoveMsgAck' }, '00000000 01 00 0039 00000007 0002 0000 442879cd'],
  [
    { event: 'RemoveMsgNack', code: 4, retryAfter: 0, text: 'later' },
    '0000000d 01 00 003a 00000008 0002 0000 691f1b28  0004 00000000 0005 6c61746572',
  ],
  ...deviceVectors,
  ...putFilesVectors,
  ...digestVectors,
  ...receiptVectors,
]
