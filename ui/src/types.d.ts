// What TypeScript cannot know by itself: style sheets are bundled by esbuild; node's test modules are there at run time.
declare module '*.css'
declare module 'node:test' {
  export default function test(name: string, fn: () => void | Promise<void>): void
}
declare module 'node:assert/strict' {
  interface Assert {
    equal(actual: unknown, expected: unknown, message?: string): void
    deepEqual(actual: unknown, expected: unknown, message?: string): void
    ok(value: unknown, message?: string): void
    match(value: string, re: RegExp, message?: string): void
  }
  const assert: Assert
  export default assert
}
