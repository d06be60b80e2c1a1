/* Stands in for the kernel's dma-buf allocators (dma_heap, udmabuf), which a build machine lacks: memfds instead.
   Preloaded; every other open and ioctl goes through. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
struct heap_data { uint64_t len; uint32_t fd, fd_flags; uint64_t heap_flags; };
struct udmabuf { uint32_t memfd, flags; uint64_t offset, size; };
#define HEAP_ALLOC _IOWR('H', 0, struct heap_data)
#define UDMABUF_CREATE _IOW('u', 0x42, struct udmabuf)
static int ours(const char *p) { return !strncmp(p, "/dev/dma_heap/", 14) || !strcmp(p, "/dev/udmabuf"); }
#define OPEN(name) int name(const char *p, int flags, ...) { \
  va_list a; va_start(a, flags); int mode = va_arg(a, int); va_end(a); \
  if (ours(p)) return memfd_create("heap", MFD_CLOEXEC); \
  int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); return real(p, flags, mode); }
OPEN(open) OPEN(open64)
#define OPENAT(name) int name(int d, const char *p, int flags, ...) { \
  va_list a; va_start(a, flags); int mode = va_arg(a, int); va_end(a); \
  if (ours(p)) return memfd_create("heap", MFD_CLOEXEC); \
  int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, #name); return real(d, p, flags, mode); }
OPENAT(openat) OPENAT(openat64)
int ioctl(int fd, unsigned long r, ...) {
  va_list a; va_start(a, r); void *arg = va_arg(a, void *); va_end(a);
  r &= 0xffffffffUL;
  if (r == HEAP_ALLOC) { struct heap_data *d = arg; int m = memfd_create("buffer", MFD_CLOEXEC);
    if (m < 0 || ftruncate(m, d->len)) return -1; d->fd = m; return 0; }
  if (r == UDMABUF_CREATE) { struct udmabuf *u = arg; return fcntl(u->memfd, F_DUPFD_CLOEXEC, 0); }
  if (((r >> 8) & 0xff) == 'b') return 0; /* DMA_BUF_IOCTL_SYNC, DMA_BUF_SET_NAME */
  int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl"); return real(fd, r, arg); }
