// What hnswlib defines outside its namespace gets a name of its own too.
#define hnswlib hnswlib_avx2
#define cpuid cpuid_avx2
#define xgetbv xgetbv_avx2
#define AVXCapable AVXCapable_avx2
#define AVX512Capable AVX512Capable_avx2
#define JADE_PEER_FACTORY make_hnswlib_avx2
#include "apps/bench/peer_hnswlib.inl"
