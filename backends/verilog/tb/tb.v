// Runs the bench and says what came of it.
`timescale 1ns / 1ns
module tb #(
    parameter STREAM = 0
);
    wire done, failed;
    snn_bench #(.STREAM(STREAM)) bench (.done(done), .failed(failed));
    // both settle with the same clock edge
    always @(posedge done) begin
        #1 $display("%0s", failed ? "FAIL" : "PASS");
        $finish;
    end
endmodule
