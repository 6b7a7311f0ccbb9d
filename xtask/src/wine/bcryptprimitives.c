/* A stand-in for bcryptprimitives.dll, which Wine before version 9 lacks and which every Rust program
 * for Windows asks for random numbers. It is laid beside the programs that `cargo xtask wine` runs,
 * and is never shipped.
 *
 * SystemFunction036 is RtlGenRandom (ntsecapi.h): it fills a buffer whose length has 32 bits. */

#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
    while (length > 0) {
        ULONG part = length > 0x40000000 ? 0x40000000 : (ULONG)length;
        if (!SystemFunction036(data, part))
            return FALSE;
        data += part;
        length -= part;
    }
    return TRUE;
}
