/* Run a .tflite file without Python: inputs from standard input, outputs to standard output, raw numbers.

     cc predict.c -o predict -l:libLiteRt.so          predict model.tflite < inputs > outputs

   Links against LiteRT's own library, which the Python package ai-edge-litert brings along. Its headers are not in the
   package; what one prediction needs is declared here, as LiteRT's litert/c/ *.h declare it. Handles are pointers to what
   only the library knows, and every function returns 0 for success. The file needs a fixed batch. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef void *Handle;
typedef struct { int words[32]; } TensorType; /* type and shape; ours only to pass on */

int LiteRtCreateEnvironment(int count, const void *options, Handle *environment);
int LiteRtCreateModelFromFile(Handle environment, const char *path, Handle *model);
int LiteRtCreateOptions(Handle *options);
int LiteRtSetOptionsHardwareAccelerators(Handle options, int which);
int LiteRtCreateCompiledModel(Handle environment, Handle model, Handle options, Handle *compiled);
int LiteRtGetModelSignature(Handle model, size_t index, Handle *signature);
int LiteRtGetNumSignatureInputs(Handle signature, size_t *count);
int LiteRtGetNumSignatureOutputs(Handle signature, size_t *count);
int LiteRtGetSignatureInputTensorByIndex(Handle signature, size_t index, Handle *tensor);
int LiteRtGetSignatureOutputTensorByIndex(Handle signature, size_t index, Handle *tensor);
int LiteRtGetRankedTensorType(Handle tensor, TensorType *type);
int LiteRtGetCompiledModelInputBufferRequirements(Handle compiled, size_t signature, size_t index, Handle *needs);
int LiteRtGetCompiledModelOutputBufferRequirements(Handle compiled, size_t signature, size_t index, Handle *needs);
int LiteRtCreateManagedTensorBufferFromRequirements(Handle environment, const TensorType *type, Handle needs,
                                                    Handle *buffer);
int LiteRtGetTensorBufferPackedSize(Handle buffer, size_t *bytes);
int LiteRtLockTensorBuffer(Handle buffer, void **memory, int mode);
int LiteRtUnlockTensorBuffer(Handle buffer);
int LiteRtRunCompiledModel(Handle compiled, size_t signature, size_t inputs, Handle *in, size_t outputs, Handle *out);

enum { CPU = 1, READ = 0, WRITE = 1, MOST = 16 };

#define TRY(call) \
  do { int status = (call); if (status) { fprintf(stderr, "%s: status %d\n", #call, status); return 1; } } while (0)

/* Bytes from standard input into a buffer, or from a buffer to standard output; 2 at the end of the input. */
static int move(Handle buffer, int mode) {
  void *memory;
  size_t bytes, moved;
  TRY(LiteRtGetTensorBufferPackedSize(buffer, &bytes));
  TRY(LiteRtLockTensorBuffer(buffer, &memory, mode));
  moved = mode == WRITE ? fread(memory, 1, bytes, stdin) : fwrite(memory, 1, bytes, stdout);
  TRY(LiteRtUnlockTensorBuffer(buffer));
  return moved == bytes ? 0 : moved == 0 && mode == WRITE ? 2 : 1;
}

int main(int count, char **arguments) {
  Handle environment, model, options, compiled, signature, tensor, needs, in[MOST], out[MOST];
  TensorType type;
  size_t inputs, outputs, i;
  if (count != 2) { fprintf(stderr, "usage: predict model.tflite < inputs > outputs\n"); return 1; }

  /* once: open the file and choose kernels; this is what the Interpreter calls allocate_tensors() */
  TRY(LiteRtCreateEnvironment(0, NULL, &environment));
  TRY(LiteRtCreateModelFromFile(environment, arguments[1], &model));
  TRY(LiteRtCreateOptions(&options));
  TRY(LiteRtSetOptionsHardwareAccelerators(options, CPU));
  TRY(LiteRtCreateCompiledModel(environment, model, options, &compiled));

  /* once: a buffer for each input and output of the first signature */
  TRY(LiteRtGetModelSignature(model, 0, &signature));
  TRY(LiteRtGetNumSignatureInputs(signature, &inputs));
  TRY(LiteRtGetNumSignatureOutputs(signature, &outputs));
  if (inputs > MOST || outputs > MOST) { fprintf(stderr, "more than %d inputs or outputs\n", MOST); return 1; }
  for (i = 0; i < inputs; i++) {
    TRY(LiteRtGetSignatureInputTensorByIndex(signature, i, &tensor));
    TRY(LiteRtGetRankedTensorType(tensor, &type));
    TRY(LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, i, &needs));
    TRY(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, needs, &in[i]));
  }
  for (i = 0; i < outputs; i++) {
    TRY(LiteRtGetSignatureOutputTensorByIndex(signature, i, &tensor));
    TRY(LiteRtGetRankedTensorType(tensor, &type));
    TRY(LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, i, &needs));
    TRY(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, needs, &out[i]));
  }

  /* for each example: fill, run, empty */
  for (;;) {
    for (i = 0; i < inputs; i++) {
      int status = move(in[i], WRITE);
      if (status) return status == 2 && i == 0 ? 0 : 1;
    }
    TRY(LiteRtRunCompiledModel(compiled, 0, inputs, in, outputs, out));
    for (i = 0; i < outputs; i++) TRY(move(out[i], READ));
  }
}
