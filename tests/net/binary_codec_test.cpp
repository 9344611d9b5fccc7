#include "net/binary_codec.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "storage/crc32c.h"

namespace jade {
namespace {

std::string bytes_of(std::initializer_list<int> bytes) {
  std::string out;
  for (int byte : bytes) out.push_back(static_cast<char>(byte));
  return out;
}

struct Sample {
  std::vector<VectorId> ids = {1, 2, 3};
  std::vector<float> values = {1, 2, 3, 4, 5, 6};
  std::vector<std::string> metadata = {"{}", "", R"({"a":1})"};
  bool checksum = false;

  std::string encode() const {
    return encode_upsert({ids, ElementType::f32, 2, values.data(), metadata, checksum});
  }
};

TEST_CASE("the checksum is CRC-32C") {
  CHECK(crc32c("123456789") == 0xe3069283u);
  CHECK(crc32c("") == 0);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);
}

TEST_CASE("an upsert is the bytes of docs/binary-protocol.md") {
  std::vector<VectorId> ids = {258};
  float values[2] = {1, -2};
  std::string body = encode_upsert({ids, ElementType::f32, 2, values, {}, false});
  CHECK(body == bytes_of({'J', 'V', 'B', '1', 1, 0, 0, 0, 2, 0, 0,    0,    1, 0, 0, 0,  //
                          2,   1,   0,   0,   0, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}));
}

TEST_CASE("what is encoded is decoded: ids of all kinds, metadata, checksums") {
  for (bool checksum : {false, true}) {
    for (const std::vector<VectorId>& ids : {std::vector<VectorId>{1, 2, UINT64_MAX},
                                             {VectorId("a"), VectorId("b"), VectorId("é")},
                                             {VectorId("1"), 1, VectorId("z")}}) {
      Sample sample;
      sample.ids = ids;
      sample.checksum = checksum;
      auto r = decode_upsert(sample.encode());
      REQUIRE_MESSAGE(r.ok(), r.status().to_string());
      CHECK(r->ids == ids);
      CHECK(r->dimension == 2);
      CHECK(r->metadata == sample.metadata);
      CHECK(std::memcmp(r->values.data(), sample.values.data(), 24) == 0);
    }
  }
}

TEST_CASE("f16 and u8 become f32") {
  std::vector<VectorId> ids = {1};
  uint16_t halves[8] = {0x0000, 0x3c00, 0xc000, 0x7bff, 0x0001, 0x03ff, 0x8000, 0x3555};
  auto r = decode_upsert(encode_upsert({ids, ElementType::f16, 8, halves, {}, false}));
  REQUIRE(r.ok());
  float floats[8];
  std::memcpy(floats, r->values.data(), sizeof floats);
  CHECK(floats[0] == 0);
  CHECK(floats[1] == 1);
  CHECK(floats[2] == -2);
  CHECK(floats[3] == 65504);
  CHECK(floats[4] == std::ldexp(1.0f, -24));
  CHECK(floats[5] == std::ldexp(1023.0f, -24));
  CHECK((floats[6] == 0 && std::signbit(floats[6])));
  CHECK(floats[7] == 0.333251953125f);
  halves[3] = 0x7c00;
  auto infinite = decode_upsert(encode_upsert({ids, ElementType::f16, 8, halves, {}, false}));
  CHECK(infinite.status().message().find("value 3 of row 0") != std::string::npos);
  uint8_t bytes[3] = {0, 1, 255};
  auto u = decode_upsert(encode_upsert({ids, ElementType::u8, 3, bytes, {}, false}));
  REQUIRE(u.ok());
  std::memcpy(floats, u->values.data(), 12);
  CHECK(floats[2] == 255);
}

TEST_CASE("values that are not finite are refused by row and column") {
  for (float bad : {NAN, INFINITY, -INFINITY}) {
    Sample sample;
    sample.values[3] = bad;
    auto r = decode_upsert(sample.encode());
    REQUIRE(!r.ok());
    CHECK(r.status().message().find("value 1 of row 1") != std::string::npos);
  }
}

TEST_CASE("counts that lie are refused before memory is taken") {
  std::string body = Sample{}.encode();
  struct Lie {
    size_t at;
    uint32_t value;
  };
  for (Lie lie :
       {Lie{8, 0}, Lie{8, 3}, Lie{8, 1}, Lie{8, 16384}, Lie{8, UINT32_MAX}, Lie{12, 0}, Lie{12, 2},
        Lie{12, 4}, Lie{12, 100000}, Lie{12, UINT32_MAX}, Lie{12, 0x80000001u}}) {
    CAPTURE(lie.at);
    CAPTURE(lie.value);
    std::string lying = body;
    std::memcpy(lying.data() + lie.at, &lie.value, 4);
    CHECK(!decode_upsert(lying).ok());
  }
  size_t offsets = 16 + 24 + 24;
  for (size_t i = 0; i < 4; ++i) {
    for (uint32_t value : {UINT32_MAX, 0x7fffffffu, 10u}) {
      std::string lying = body;
      std::memcpy(lying.data() + offsets + 4 * i, &value, 4);
      CHECK(!decode_upsert(lying).ok());
    }
  }
  for (size_t n = 0; n < body.size(); ++n) CHECK(!decode_upsert(body.substr(0, n)).ok());
  CHECK(!decode_upsert(body + "x").ok());
}

TEST_CASE("damage is found by the checksum") {
  Sample sample;
  sample.checksum = true;
  std::string body = sample.encode();
  for (size_t i = 8; i < body.size(); ++i) {
    std::string damaged = body;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
    CHECK(!decode_upsert(damaged).ok());
  }
}

TEST_CASE("searches carry all options") {
  SearchRequest options;
  options.k = 7;
  options.filter = R"({"a":1})";
  options.token = "tok";
  options.ef_search = 99;
  options.nprobe = 3;
  options.score_threshold = 0.5f;
  options.consistency = Consistency::eventual;
  options.exact = true;
  options.include_values = true;
  options.include_metadata = false;
  float queries[4] = {1, 2, 3, 4};
  for (bool checksum : {false, true}) {
    auto r = decode_search(encode_search(options, queries, 2, 2, checksum));
    REQUIRE_MESSAGE(r.ok(), r.status().to_string());
    REQUIRE(r->searches.size() == 2);
    const SearchRequest& s = r->searches[1];
    CHECK(s.vector == std::vector<float>{3, 4});
    CHECK(s.k == 7);
    CHECK(s.filter == options.filter);
    CHECK(s.token == "tok");
    CHECK(s.ef_search == 99u);
    CHECK(s.nprobe == 3u);
    CHECK(s.score_threshold == 0.5f);
    CHECK(s.consistency == Consistency::eventual);
    CHECK(s.exact);
    CHECK(s.include_values);
    CHECK(!s.include_metadata);
    CHECK(!r->timeout_ms);
    options.timeout_ms = 250;
    auto timed = decode_search(encode_search(options, queries, 2, 2, checksum));
    REQUIRE_MESSAGE(timed.ok(), timed.status().to_string());
    CHECK(timed->timeout_ms == 250u);
    CHECK(timed->searches[1].vector == std::vector<float>{3, 4});
    CHECK(timed->searches[1].filter == options.filter);
    options.timeout_ms.reset();
  }
  for (uint32_t extras = 0; extras < 8; ++extras) {
    SearchRequest extra;
    extra.filter = options.filter;
    if ((extras & 1) != 0) extra.timeout_ms = 250;
    if ((extras & 2) != 0) extra.min_recall = 0.95;
    extra.explain = (extras & 4) != 0;
    std::string body = encode_search(extra, queries, 2, 2);
    CHECK(body[35] == static_cast<char>(extras));
    auto r = decode_search(body);
    REQUIRE_MESSAGE(r.ok(), r.status().to_string());
    CHECK(r->timeout_ms == extra.timeout_ms);
    CHECK(r->searches[1].min_recall == extra.min_recall);
    CHECK(r->searches[1].explain == extra.explain);
    CHECK(r->searches[1].vector == std::vector<float>{3, 4});
    CHECK(r->searches[1].filter == options.filter);
  }
  for (auto [timeout_ms, byte] : {std::pair(0, 44), std::pair(250, 48)}) {
    for (auto [least, text] :
         {std::pair(0.4, "0.4"), std::pair(1.0, "1"), std::pair(double{NAN}, "nan")}) {
      SearchRequest wrong;
      if (timeout_ms != 0) wrong.timeout_ms = timeout_ms;
      wrong.min_recall = least;
      CHECK(decode_search(encode_search(wrong, queries, 1, 4)).status().message() ==
            "binary body, byte " + std::to_string(byte) + ": min_recall is " + text +
                "; it must be 0.5 to 0.999");
    }
  }
  for (uint32_t timeout_ms : {0u, Limits::timeout_ms_max + 1}) {
    SearchRequest wrong;
    wrong.timeout_ms = timeout_ms;
    CHECK(decode_search(encode_search(wrong, queries, 1, 4)).status().message() ==
          "binary body, byte 44: timeout_ms is " + std::to_string(timeout_ms) +
              "; it must be 1 to 30000");
  }
  std::string unknown = encode_search(SearchRequest{}, queries, 1, 4);
  unknown[35] = 16;
  CHECK(decode_search(unknown).status().message() ==
        "binary body, byte 35: extras must be 0 to 15");
  auto plain = decode_search(encode_search(SearchRequest{}, queries, 1, 4));
  REQUIRE(plain.ok());
  CHECK(!plain->searches[0].score_threshold);
  CHECK(!plain->searches[0].ef_search);
  for (uint32_t k : {0u, Limits::k_max + 1}) {
    options.k = k;
    CHECK(decode_search(encode_search(options, queries, 1, 4)).status().message().find("k is") !=
          std::string::npos);
  }
  CHECK(!decode_search(Sample{}.encode()).ok());
}

TEST_CASE("replies come back as they were, or are refused when cut") {
  TimedSearchReply reply;
  reply.took_us = 123456789012;
  reply.results.resize(3);
  reply.results[0].results = {{1, 0.5f, "{}", {1, 2}}, {VectorId("x"), 0.25f, "", {3, 4}}};
  reply.results[2].results = {{UINT64_MAX, -1, R"({"z":1})", {5, 6}}};
  std::string body = encode_search_reply(reply);
  auto r = decode_search_reply(body);
  REQUIRE_MESSAGE(r.ok(), r.status().to_string());
  CHECK(r->took_us == reply.took_us);
  REQUIRE(r->results.size() == 3);
  CHECK(r->results[1].results.empty());
  for (size_t i : {0u, 2u}) {
    REQUIRE(r->results[i].results.size() == reply.results[i].results.size());
    for (size_t j = 0; j < reply.results[i].results.size(); ++j) {
      const SearchHit &got = r->results[i].results[j], &want = reply.results[i].results[j];
      CHECK(got.id == want.id);
      CHECK(got.score == want.score);
      CHECK(got.metadata == want.metadata);
      CHECK(got.values == want.values);
    }
  }
  for (size_t n = 0; n < body.size(); ++n) CHECK(!decode_search_reply(body.substr(0, n)).ok());
  CHECK(decode_search_reply(encode_search_reply({}))->results.empty());
}

// Three rows with a title, of which the second and third have a body.
struct NamedSample {
  std::vector<VectorId> ids = {1, 2, 3};
  std::vector<float> titles = {1, 2, 3, 4, 5, 6};
  std::vector<uint8_t> bodies = {7, 8, 9, 10, 11, 12};
  std::vector<uint32_t> with_body = {1, 2};
  std::vector<std::string> metadata = {"{}", "", R"({"a":1})"};
  bool checksum = false;

  std::string encode() const {
    const NamedView named[] = {{"title", ElementType::f32, 2, titles.data()},
                               {"body", ElementType::u8, 3, bodies.data(), with_body}};
    UpsertView view;
    view.ids = ids;
    view.metadata = metadata;
    view.checksum = checksum;
    view.named = named;
    return encode_upsert(view);
  }
};

std::vector<float> floats_of(const std::string& bytes) {
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
  return out;
}

TEST_CASE("an upsert of named vectors is the bytes of docs/binary-protocol.md") {
  std::vector<VectorId> ids = {258, 3};
  const uint8_t values[] = {5, 6};
  const uint32_t rows[] = {1};
  const NamedView named[] = {{"ab", ElementType::u8, 2, values, rows}};
  UpsertView view;
  view.ids = ids;
  view.named = named;
  CHECK(encode_upsert(view) ==
        bytes_of({'J', 'V', 'B', '1', 1, 0, 0, 8, 0,   0,   0, 0, 2, 0, 0, 0,  //
                  2,   1,   0,   0,   0, 0, 0, 0, 3,   0,   0, 0, 0, 0, 0, 0,  //
                  1,   2,   2,   1,   2, 0, 0, 0, 'a', 'b', 2, 5, 6}));
}

TEST_CASE("named vectors come back as they were given, of the rows that have them") {
  for (bool checksum : {false, true}) {
    NamedSample sample;
    sample.checksum = checksum;
    auto r = decode_upsert(sample.encode());
    REQUIRE_MESSAGE(r.ok(), r.status().to_string());
    CHECK(r->ids == sample.ids);
    CHECK(r->metadata == sample.metadata);
    CHECK(r->dimension == 0);
    CHECK(r->values.empty());
    REQUIRE(r->named.size() == 2);
    CHECK(r->named[0].name == "title");
    CHECK(r->named[0].dimension == 2);
    CHECK(r->named[0].rows == std::vector<uint32_t>{0, 1, 2});
    CHECK(floats_of(r->named[0].values) == sample.titles);
    CHECK(r->named[1].name == "body");
    CHECK(r->named[1].dimension == 3);
    CHECK(r->named[1].rows == sample.with_body);
    CHECK(floats_of(r->named[1].values) == std::vector<float>{7, 8, 9, 10, 11, 12});
  }
}

TEST_CASE("what is wrong with named vectors is refused, by its place") {
  NamedSample sample;
  const std::string body = sample.encode();
  const size_t vectors = 16 + 24;            // their number
  const size_t title = vectors + 1;          // its description
  const size_t second = title + 7 + 5 + 24;  // that of the body
  const size_t bitmap = second + 7 + 4;
  auto refusal = [&](size_t at, std::initializer_list<int> bytes) {
    std::string wrong = body;
    wrong.replace(at, bytes.size(), bytes_of(bytes));
    auto r = decode_upsert(wrong);
    REQUIRE(!r.ok());
    return r.status().message();
  };
  auto has = [](const std::string& message, const std::string& part) {
    CAPTURE(message);
    CHECK(message.find(part) != std::string::npos);
  };
  has(refusal(5, {1}), "byte 5: element type must be 0 with flag 8");
  has(refusal(8, {2}), "byte 8: dimension must be 0 with flag 8");
  has(refusal(7, {12 | 1}), "flag 4 is only for search replies");
  has(refusal(7, {16}), "byte 7: flags is 16; it must be 0 to 15");
  has(refusal(vectors, {0}), "it has 0 named vectors; it must have 1 to 8");
  has(refusal(vectors, {9}), "it has 9 named vectors; it must have 1 to 8");
  has(refusal(title, {0}), "the name of a vector is empty");
  has(refusal(title + 1, {3}), "the element type of vector \"title\" is 3");
  has(refusal(title + 2, {2}), "whether only some rows have vector \"title\" must be 0 or 1");
  has(refusal(title + 3, {0}), "the dimension of vector \"title\" is 0; it must be 1 to 16384");
  has(refusal(title + 3, {0xff, 0xff, 0xff, 0xff}), "is 4294967295; it must be 1 to 16384");
  has(refusal(title + 3, {0, 0x40}), "the values of vector \"title\" would take 196608 bytes");
  has(refusal(bitmap, {0}), "no row has vector \"body\"");
  has(refusal(bitmap, {8 | 2}), "have a bit beyond the last of 3 rows");
  has(refusal(bitmap, {7}), "");
  has(refusal(bitmap, {2}), "");  // what follows is then read from elsewhere
  has(refusal(title + 7 + 5 + 12, {0, 0, 0x80, 0x7f}),
      "vector \"title\": binary body: value 1 of row 1 is not a finite number");
  const NamedView twice[] = {{"a", ElementType::f32, 2, sample.titles.data()},
                             {"a", ElementType::f32, 2, sample.titles.data()}};
  UpsertView view;
  view.ids = sample.ids;
  view.named = twice;
  has(decode_upsert(encode_upsert(view)).status().message(), "vector \"a\" is given twice");
  for (size_t n = 0; n < body.size(); ++n) CHECK(!decode_upsert(body.substr(0, n)).ok());
  CHECK(!decode_upsert(body + "x").ok());
  // A row that is not finite is named by its place in the body, not in the column.
  const float bad[] = {1, NAN};
  const uint32_t last[] = {2};
  const NamedView one[] = {{"a", ElementType::f32, 2, bad, last}};
  view.named = one;
  has(decode_upsert(encode_upsert(view)).status().message(), "value 1 of row 2");
}

TEST_CASE("searches say which of the named vectors they are for") {
  SearchRequest options;
  options.vector_name = "title";
  options.filter = R"({"a":1})";
  options.token = "tok";
  const float query[] = {1, 2};
  for (bool all : {false, true}) {
    if (all) options.timeout_ms = 250;
    if (all) options.min_recall = 0.9;
    std::string body = encode_search(options, query, 1, 2, all);
    CHECK(body[35] == (all ? 11 : 8));
    auto r = decode_search(body);
    REQUIRE_MESSAGE(r.ok(), r.status().to_string());
    CHECK(r->searches[0].vector_name == "title");
    CHECK(r->searches[0].filter == options.filter);
    CHECK(r->searches[0].token == "tok");
    CHECK(r->searches[0].vector == std::vector<float>{1, 2});
    for (size_t n = 0; n < body.size(); ++n) CHECK(!decode_search(body.substr(0, n)).ok());
  }
  options.timeout_ms.reset();
  options.min_recall.reset();
  std::string body = encode_search(options, query, 1, 2);
  body[44] = 0;
  CHECK(decode_search(body).status().message() ==
        "binary body, byte 44: using is empty; name a vector");
  options.vector_name = std::string(Limits::name_bytes_max + 1, 'a');
  CHECK(decode_search(encode_search(options, query, 1, 2)).status().message() ==
        "binary body, byte 44: using has 129 bytes; at most 128 are allowed");
  body[7] = 8;
  CHECK(decode_search(body).status().message().find("the only flag of a search is 2") !=
        std::string::npos);
}

TEST_CASE("replies have the named vectors of what was found") {
  TimedSearchReply reply;
  reply.results.resize(2);
  SearchHit both{1, 1, "{}", {}, {{"body", {3, 4, 5}}, {"title", {1, 2}}}};
  SearchHit body_only{2, 2, "", {}, {{"body", {6, 7, 8}}}};
  reply.results[0].results = {body_only, both};  // so that the first has not all of them
  reply.results[1].results = {body_only};
  const std::string bytes = encode_search_reply(reply);
  auto r = decode_search_reply(bytes);
  REQUIRE_MESSAGE(r.ok(), r.status().to_string());
  for (size_t i = 0; i < 2; ++i) {
    REQUIRE(r->results[i].results.size() == reply.results[i].results.size());
    for (size_t j = 0; j < reply.results[i].results.size(); ++j) {
      const SearchHit &got = r->results[i].results[j], &want = reply.results[i].results[j];
      CHECK(got.id == want.id);
      CHECK(got.values.empty());
      REQUIRE(got.named.size() == want.named.size());
      for (size_t v = 0; v < want.named.size(); ++v) {
        CHECK(got.named[v].name == want.named[v].name);
        CHECK(got.named[v].values == want.named[v].values);
      }
    }
  }
  for (size_t n = 0; n < bytes.size(); ++n) CHECK(!decode_search_reply(bytes.substr(0, n)).ok());
  std::string lying = bytes;
  lying[7] = static_cast<char>(lying[7] | 4);
  CHECK(decode_search_reply(lying).status().message().find("have names (flag 8) or not") !=
        std::string::npos);
  lying = bytes;
  lying[8] = 1;
  CHECK(decode_search_reply(lying).status().message() ==
        "binary body, byte 8: dimension must be 0 with flag 8 (named)");
}

TEST_CASE("mutated bodies are read or refused, never more") {
  Sample sample;
  sample.ids = {VectorId("a"), 2, VectorId("c")};
  SearchRequest options;
  options.filter = R"({"a":1})";
  TimedSearchReply reply{{{{{1, 1, "{}", {1}}, {VectorId("b"), 2, "{}", {2}}}, {}}}, 5};
  TimedSearchReply named_reply{{{{{1, 1, "{}", {}, {{"a", {1}}, {"b", {2, 3}}}}}}}, 5};
  named_reply.results[0].results.push_back({2, 2, "", {}, {{"b", {4, 5}}}});
  float query[2] = {1, 2};
  const std::string valid[] = {sample.encode(), encode_search(options, query, 1, 2),
                               encode_search_reply(reply), NamedSample{}.encode(),
                               encode_search_reply(named_reply)};
  uint32_t seed = 7;
  auto random = [&](size_t n) { return (seed = seed * 1664525u + 1013904223u, seed >> 8) % n; };
  for (int i = 0; i < 25000; ++i) {
    std::string body = valid[i % 5];
    for (size_t changes = 1 + random(3); changes > 0; --changes) {
      body[random(body.size())] = static_cast<char>(random(4) ? random(256) : random(4));
    }
    if (i % 5 == 0 || i % 5 == 3) {
      if (auto r = decode_upsert(body)) {
        CHECK(r->values.size() == r->ids.size() * r->dimension * 4);
        for (const VectorColumn& column : r->named) {
          CHECK(column.values.size() == column.rows.size() * column.dimension * 4);
          CHECK(column.rows.back() < r->ids.size());
        }
      }
    } else if (i % 5 == 1) {
      if (auto r = decode_search(body)) CHECK(!r->searches.empty());
    } else if (auto r = decode_search_reply(body)) {
      CHECK(r->results.size() <= body.size());
    }
  }
}

}  // namespace
}  // namespace jade
