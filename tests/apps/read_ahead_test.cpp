#include "apps/import/read_ahead.h"

#include <doctest/doctest.h>

#include "storage/bytes.h"
#include "tests/apps/scratch_dir.h"

namespace jade {
namespace {

struct Files {
  ScratchDir dir;
  ImportOptions options;

  Result<std::unique_ptr<VectorReader>> ahead(const std::string& name, const std::string& bytes) {
    auto reader = open_vectors(dir.write(name, bytes), std::nullopt);
    REQUIRE_MESSAGE(reader.ok(), reader.status().to_string());
    return read_ahead(*std::move(reader), options, 2);
  }
  std::string refusal(const std::string& name, const std::string& bytes) {
    auto reader = ahead(name, bytes);
    REQUIRE(!reader.ok());
    return reader.status().message();
  }
};

const std::string lines = "{\"values\":[1,2]}\n\n{\"values\":[3,4]}\n{\"text\":\"t\"}\n";

std::string fvecs(std::initializer_list<uint32_t> dimensions) {
  std::string bytes;
  for (uint32_t dimension : dimensions) {
    append_u32(bytes, dimension);
    bytes.append(8, '\0');
  }
  return bytes;
}

}  // namespace

TEST_CASE_FIXTURE(Files, "what was read ahead comes first, and then the rest") {
  options.batch_rows = 2;
  for (uint64_t skip : {0, 1, 3}) {
    options.first_row = skip;
    auto reader = ahead("a.ndjson", lines);
    REQUIRE_MESSAGE(reader.ok(), reader.status().to_string());
    REQUIRE((*reader)->skip(skip).ok());
    uint64_t row = skip;
    for (;;) {
      auto piece = (*reader)->read(2, 1 << 20);
      REQUIRE(piece.ok());
      if (piece->rows == 0) break;
      CHECK(piece->first_row == row);
      row += piece->rows;
    }
    CHECK(row == 3);
  }
  options.first_row = 1;
  auto reader = ahead("a.fvecs", fvecs({2, 2, 2, 2}));
  REQUIRE_MESSAGE(reader.ok(), reader.status().to_string());
  CHECK((*reader)->dimension() == 2);
  CHECK((*reader)->rows() == 4);
  CHECK(!(*reader)->skip(2).ok());
  CHECK((*reader)->read(2, 1 << 20)->first_row == 1);
  CHECK((*reader)->read(2, 1 << 20)->first_row == 3);
}

TEST_CASE_FIXTURE(Files, "what cannot be read or sent is refused before anything is made for it") {
  CHECK(refusal("a.ndjson", "\nid,values\n").starts_with("line 2: is not JSON"));
  CHECK(refusal("a.ndjson", "{\"values\":[1,2]}\n[1,2]\n") == "line 2: is not a JSON object");
  CHECK(refusal("a.ndjson", "{\"values\":[1]}") == "line 1: has 1 values; the dimension is 2");
  CHECK(refusal("a.fvecs", fvecs({2, 2, 1})).find("row 2 has dimension 1") != std::string::npos);
  options.first_row = 4;
  CHECK(refusal("a.ndjson", lines).find("ends before the rows") != std::string::npos);
  options.first_row = 0;
  options.vector_name = "v";
  CHECK(refusal("a.ndjson", lines).starts_with("lines of NDJSON name their vectors"));
}

TEST_CASE_FIXTURE(Files,
                  "bad lines that are to be counted are, and rows that are not sent are not read") {
  options.count_bad_rows = true;
  CHECK(ahead("a.ndjson", "{\"values\":[1,2]}\n[1,2]\n").ok());
  options.count_bad_rows = false;
  options.rows_max = 1;
  CHECK(ahead("a.ndjson", "{\"values\":[1,2]}\n[1,2]\n").ok());
  options.rows_max = 0;
  CHECK(ahead("a.ndjson", "[1,2]\n").ok());
}

}  // namespace jade
